// The examples of README.md. Each `##` section is a folder: blocks with a file's name are written into
// it, `sh` blocks are run there, and the `text` block after one is what they print.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { program, startService } from './support/service.js';

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL('.', import.meta.url));
const page = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

let folder;
let service;

before(async () => {
  service = await startService();
  // Below the tests, so that the examples find the test runners that are installed here.
  folder = mkdtempSync(join(here, 'readme-'));
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(dirname(require.resolve('portbook/package.json')), join(folder, 'node_modules/portbook'));
  mkdirSync(join(folder, 'bin'));
  symlinkSync(resolve(program), join(folder, 'bin/portbook'));
});
after(async () => {
  await service.stop();
  rmSync(folder, { recursive: true });
});

function environment() {
  const places = [join(folder, 'bin'), resolve(here, '../node_modules/.bin'), process.env.PATH];
  // A test runner within a test runner: its own variables would make it report to the outer one.
  const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: __, FORCE_COLOR: ___, ...outer } = process.env;
  return { ...outer, ...service.environment, PATH: places.join(delimiter), NO_COLOR: '1' };
}

/** Text as a pattern: any number for a number, anything for `…`. */
function pattern(text) {
  const escaped = text.trim().replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/\d+/g, '\\d+').replaceAll('…', '.*')}$`);
}

function isInstalled(name) {
  try {
    require.resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

for (const section of page.split(/^## /m).slice(1)) {
  const title = section.split('\n', 1)[0];
  const blocks = [...section.matchAll(/^```(\w+)(?: (\S+))?\n(.*?)^```$/gms)].map(([, kind, file, text]) => ({ kind, file, text }));
  const scripts = blocks.filter(({ kind }) => kind === 'sh');
  if (scripts.length === 0) continue;
  const needs = section.match(/<!-- needs: (.*) -->/)?.[1].split(' ') ?? [];
  const missing = needs.filter((name) => !isInstalled(name));
  const skip = missing.length > 0 && `SKIPPED: ${missing.join(', ')} not installed`;
  test(`examples of "${title}" print what the page shows`, { skip, timeout: 120_000 }, async () => {
    const place = join(folder, title.replace(/\W+/g, '-'));
    mkdirSync(place);
    for (const { file, text } of blocks.filter((block) => block.file)) writeFileSync(join(place, file), text);
    for (const script of scripts) {
      const options = { cwd: place, env: environment(), timeout: 60_000 };
      const { stdout } = await promisify(execFile)('bash', ['-e', '-o', 'pipefail', '-c', script.text], options);
      const shown = blocks[blocks.indexOf(script) + 1];
      assert.equal(shown.kind, 'text');
      assert.match(stdout.trim(), pattern(shown.text));
    }
  });
}
