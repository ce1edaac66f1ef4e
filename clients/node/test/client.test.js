import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Client, NoServiceError, PortbookError } from 'portbook';
import { cleanEnvironment, program, startService } from './support/service.js';

let service;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portbook-'));
  service = await startService();
});
after(async () => {
  await service.stop();
  rmSync(folder, { recursive: true });
});

/** A stand-in for the service that answers with a handler of the test. */
async function standIn(handler) {
  const socket = join(folder, `${Math.random()}.sock`);
  const server = http.createServer(handler).listen(socket);
  await once(server, 'listening');
  return { server, client: new Client({ socket, timeout: 1000 }) };
}

test('lease, leases, who and release work together', async () => {
  const client = new Client();
  const { created, leases } = await client.lease({ name: 'api', labels: { team: 'a' } });
  const [lease] = leases;
  assert.equal(created, true);
  assert.equal(lease.owner.pid, process.pid);
  assert.deepEqual((await client.leases({ label: 'team=a' })).map(({ id }) => id), [lease.id]);
  assert.equal((await client.who(lease.port)).leases[0].name, 'api');
  assert.equal((await client.lease({ name: 'api' })).created, false);
  assert.equal(await client.release(lease), true);
  assert.equal(await client.release(lease.id), false);
  assert.deepEqual(await client.leases({ name: 'api' }), []);
});

test('labels of the environment are those of every lease', async () => {
  process.env.PORTBOOK_CLIENT__LABELS = 'job=7.1, team=ci';
  try {
    const { leases } = await new Client().lease({ labels: { team: 'web' } });
    assert.deepEqual(leases[0].labels, { job: '7.1', team: 'web' });
    await new Client().release(leases[0]);
  } finally {
    delete process.env.PORTBOOK_CLIENT__LABELS;
  }
});

test('lease without an owner waits for its first listener', async () => {
  const client = new Client();
  const { leases } = await client.lease({ owner_pid: null });
  assert.equal(leases[0].owner, null);
  assert.ok(leases[0].claim_by);
  const reserved = await client.lease({ name: 'later', reserve: true });
  assert.equal(reserved.leases[0].state, 'reserved');
});

test('lists are read to their last page', async () => {
  const pages = { '': ['a'], b: ['b'], c: [] };
  const { server, client } = await standIn((request, answer) => {
    const before = new URL(request.url, 'http://localhost').searchParams.get('before') ?? '';
    const next = { '': 'b', b: 'c' }[before];
    answer.end(JSON.stringify({ leases: pages[before], next: next && `/api/v1/leases?before=${next}` }));
  });
  assert.deepEqual(await client.leases(), ['a', 'b']);
  server.close();
});

test('refusals carry code and detail of the problem document', async () => {
  const error = await new Client().lease({ pool: 'none' }).catch((refused) => refused);
  assert.ok(error instanceof PortbookError);
  assert.equal(error.code, 'no_such_pool');
  assert.equal(error.status, 422);
  assert.equal(error.message, error.detail);
  assert.equal(error.problem.type, '/errors/no_such_pool');
  await assert.rejects(new Client().lease({ nam: 'x' }), { code: 'invalid_request', message: /unknown field `nam`/ });
});

test('absent service is named with the way out', async () => {
  const socket = join(folder, 'none.sock');
  const error = await new Client({ socket }).leases().catch((refused) => refused);
  assert.ok(error instanceof NoServiceError && error instanceof PortbookError);
  assert.equal(error.code, 'no_service');
  assert.deepEqual(error.sockets, [socket]);
  assert.match(error.message, /none\.sock \(ENOENT\); start one with `portbook serve`/);
});

test('broken connection is tried again with the same key', async () => {
  const keys = [];
  const { server, client } = await standIn((request, answer) => {
    keys.push(request.headers['idempotency-key']);
    if (keys.length < 3) request.socket.destroy();
    else answer.end('{"leases": []}');
  });
  await client.lease();
  assert.equal(keys.length, 3);
  assert.ok(keys[0]);
  assert.equal(new Set(keys).size, 1);
  server.close();
});

test('silent and foreign services are told apart', async () => {
  const silent = await standIn(() => {});
  await assert.rejects(silent.client.leases(), { code: 'timed_out', message: /within 1 s/ });
  silent.server.closeAllConnections();
  const foreign = await standIn((_, answer) => answer.end('<html>'));
  await assert.rejects(foreign.client.leases(), { code: 'invalid_answer' });
  const failing = await standIn((_, answer) => answer.writeHead(502).end('{}'));
  await assert.rejects(failing.client.leases(), { code: 'invalid_answer', status: 502 });
  for (const { server } of [silent, foreign, failing]) server.close();
});

test('wait extends the time limit', async () => {
  const { server, client } = await standIn((_, answer) => setTimeout(() => answer.end('{"leases": []}'), 1300));
  await assert.rejects(client.lease(), { code: 'timed_out' });
  assert.deepEqual(await client.lease({ wait: '2s' }), { leases: [] });
  server.close();
});

test('socket of another user is not believed', { skip: process.getuid() !== 0 && 'needs root' }, async () => {
  const socket = join(folder, 'other.sock');
  const server = http.createServer((_, answer) => answer.end('{"leases": []}')).listen(socket);
  await once(server, 'listening');
  execFileSync('chown', ['12345', socket]);
  await assert.rejects(new Client({ socket }).leases(), { code: 'untrusted', message: /uid 12345/ });
  process.env.PORTBOOK_CLIENT__TRUSTED_UIDS = '12345';
  assert.deepEqual(await new Client({ socket }).leases(), []);
  delete process.env.PORTBOOK_CLIENT__TRUSTED_UIDS;
  server.close();
});

test('requests at once share a few connections', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, () => new Client().who(1)));
  assert.equal(answers.length, 200);
  let open = 0;
  let most = 0;
  const { server, client } = await standIn((_, answer) => setTimeout(() => answer.end('{}'), 20));
  server.on('connection', (connection) => {
    most = Math.max(most, ++open);
    connection.on('close', () => open--);
  });
  await Promise.all(Array.from({ length: 20 }, () => client.who(1)));
  // The service closes connections beyond 32 of one user.
  assert.ok(most <= 8, `${most} connections`);
  server.close();
});

test('service is found by its data directory', async () => {
  delete process.env.PORTBOOK_SOCKET;
  process.env.PORTBOOK_DATA_DIR = service.environment.PORTBOOK_DATA_DIR;
  try {
    // Its socket has a name of its own there, which the lock file tells.
    assert.ok(Array.isArray(await new Client().leases()));
  } finally {
    delete process.env.PORTBOOK_DATA_DIR;
    process.env.PORTBOOK_SOCKET = service.socket;
  }
});

test('service of the runtime directory is found by the portbook command and here', { skip: process.getuid() === 0 && 'root has another place' }, async () => {
  const environment = { ...cleanEnvironment(), XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder };
  const child = spawn(program, ['serve', '--log', 'error'], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const file = join(folder, 'ask.mjs');
  writeFileSync(file, `import { Client } from ${JSON.stringify(import.meta.resolve?.('portbook') ?? 'portbook')};\nawait new Client().leases();`);
  execFileSync(process.execPath, [file], { env: environment });
  child.kill();
  await once(child, 'exit');
});
