// Ports of processes that start at once, beside one that takes every port it can get.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { start } from './support/programs.js';
import { startService } from './support/service.js';

const PROCESSES = 6;
const EACH = 15;

let service;

before(async () => {
  // Within the kernel's own range, where the hostile process is.
  const [first] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').match(/\d+/g);
  const from = Number(first) + 1000;
  service = await startService({
    PORTBOOK_POOLS__DEFAULT__RANGES: `${from}-${from + 9999}`,
    // Each conflict looks for its program among thousands of sockets; a busy machine needs the time.
    PORTBOOK_POOLS__DEFAULT__ATTEMPT_TIMEOUT: '60s',
  });
});
after(() => service.stop());

test('parallel processes get distinct ports that stay theirs', { timeout: 120_000 }, async () => {
  const hostile = start('hostile.js');
  await hostile.line();
  const pickers = Array.from({ length: PROCESSES }, () => start('picker.js', EACH, 1500));
  try {
    const answers = await Promise.all(pickers.map((picker) => picker.line()));
    assert.deepEqual(answers.flatMap(({ failed }) => failed), []);
    assert.equal(new Set(answers.flatMap(({ ports }) => ports)).size, PROCESSES * EACH);
  } finally {
    await Promise.all([hostile, ...pickers].map((it) => it.end()));
  }
});
