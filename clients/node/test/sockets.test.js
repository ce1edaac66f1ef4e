// The search for the socket. It is not public, so the file is read by its path in the package.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('portbook/package.json'));
const { sockets } = await import(pathToFileURL(join(root, 'src/sockets.js')));

const found = (environment, uid) => [...sockets(environment, uid)];
const SYSTEM = '/run/portbook/portbook.sock';

test('named socket is the only one', () => {
  assert.deepEqual(found({ PORTBOOK_SOCKET: '/a.sock', XDG_RUNTIME_DIR: '/run/user/1' }, 1), ['/a.sock']);
});

test('runtime directory comes before the host', () => {
  assert.deepEqual(found({ XDG_RUNTIME_DIR: '/run/user/1' }, 1), ['/run/user/1/portbook.sock', SYSTEM]);
});

test('state directory takes the place of a missing runtime directory', () => {
  const home = join(homedir(), '.local/state/portbook/portbook.sock');
  assert.deepEqual(found({ XDG_RUNTIME_DIR: 'relative' }, 1), [home, SYSTEM]);
  assert.deepEqual(found({ XDG_STATE_HOME: '/state' }, 1), ['/state/portbook/portbook.sock', SYSTEM]);
});

test('root asks the service of the host', () => {
  assert.deepEqual(found({ XDG_RUNTIME_DIR: '/run/user/0', PORTBOOK_DATA_DIR: '' }, 0), [SYSTEM]);
});

test('data directory leads to its own service and to no other', () => {
  const data = mkdtempSync(join(tmpdir(), 'portbook-'));
  const environment = { PORTBOOK_DATA_DIR: data, XDG_RUNTIME_DIR: '/run/user/1' };
  assert.deepEqual(found(environment, 1), [join(data, 'portbook.sock')]);
  writeFileSync(join(data, 'lock'), '123\n/elsewhere.sock\n456\n');
  assert.deepEqual(found(environment, 1), [join(data, 'portbook.sock'), '/elsewhere.sock']);
  rmSync(data, { recursive: true });
});
