import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, afterEach, before, test } from 'node:test';

import getPort, { Client, clearLockedPorts, getPort as named, portNumbers, releasePort } from 'portbook';
import { freeRow, occupy } from './support/occupy.js';
import { slowClient, start, until } from './support/programs.js';
import { startService } from './support/service.js';

// The pool: 64 ports outside that of the other test files, and others in each run, so that nothing
// that runs beside this file is in the way.
const FIRST = 10_000 + (process.pid % 80) * 100;
const LAST = FIRST + 63;
const isOfPool = (port) => port >= FIRST && port <= LAST;

const client = new Client();
let service;

before(async () => {
  service = await startService({ PORTBOOK_POOLS__DEFAULT__RANGES: `${FIRST}-${LAST}` });
});
after(() => service.stop());
afterEach(clearLockedPorts);

const onPort = async (port) => (await client.who(port)).leases[0];

test('port is leased to this process on every interface', async () => {
  const port = await getPort();
  const lease = await onPort(port);
  assert.equal(lease.owner.pid, process.pid);
  assert.deepEqual(lease.addresses, [`0.0.0.0:${port}`, `[::]:${port}`]);
  assert.equal(named, getPort);
});

test('a server listens on the port', async () => {
  const port = await getPort();
  const server = createServer((_, answer) => answer.end('here')).listen(port);
  await once(server, 'listening');
  assert.equal(await (await fetch(`http://127.0.0.1:${port}`)).text(), 'here');
  server.close();
});

test('ports asked for at once are distinct', async () => {
  const ports = await Promise.all(Array.from({ length: 60 }, () => getPort()));
  assert.equal(new Set(ports).size, 60);
});

test('preferred port is granted, then any other', async () => {
  const port = await freeRow(2);
  assert.equal(await getPort({ port }), port);
  const second = await getPort({ port });
  assert.ok(isOfPool(second), `${second}`);
});

test('move from a preferred port is on record', async () => {
  const port = await freeRow(1);
  const server = await occupy(port);
  const { moved } = await onPort(await getPort({ port }));
  assert.equal(moved.from, port);
  server.close();
});

test('iterables are tried in their order', async () => {
  const port = await freeRow(4);
  const server = await occupy(port + 3);
  assert.equal(await getPort({ port: [port + 3, port + 2, port] }), port + 2);
  server.close();
  assert.equal(await getPort({ port: new Set([port + 2, port]) }), port);
  assert.equal(await getPort({ port: portNumbers(port, port + 3) }), port + 1);
  const other = await getPort({ port: [port, port + 1] });
  assert.ok(isOfPool(other), `${other}`);
});

test('generators are read only as far as needed', async () => {
  const port = await freeRow(1);
  function* endless() {
    for (;;) yield port;
  }
  assert.equal(await getPort({ port: endless() }), port);
});

test('excluded ports are not granted', async () => {
  const port = await freeRow(2);
  assert.equal(await getPort({ port: [port, port + 1], exclude: [port] }), port + 1);
  const allowed = new Set([FIRST, FIRST + 20, LAST]);
  const exclude = [...portNumbers(FIRST, LAST)].filter((each) => !allowed.has(each));
  const granted = [await getPort({ exclude }), await getPort({ exclude }), await getPort({ port: port + 1, exclude })];
  assert.deepEqual(new Set(granted), allowed);
  await assert.rejects(getPort({ exclude }), { code: 'pool_exhausted' });
  await assert.rejects(getPort({ exclude: portNumbers(FIRST - 1000, LAST + 1000) }), {
    name: 'PortbookError',
    code: 'pool_exhausted',
    message: `exclude leaves no port of the pool default, which has ${FIRST}-${LAST}`,
  });
});

test('host and ipv6Only choose the addresses', async () => {
  const addresses = async (options) => (await onPort(await getPort(options))).addresses.map((it) => it.replace(/:\d+$/, ''));
  assert.deepEqual(await addresses({ host: '127.0.0.1' }), ['127.0.0.1']);
  assert.deepEqual(await addresses({ host: '0.0.0.0' }), ['0.0.0.0']);
  assert.deepEqual(await addresses({ host: '::' }), ['0.0.0.0', '[::]']);
  assert.deepEqual(await addresses({ ipv6Only: true }), ['[::]']);
  assert.deepEqual(await addresses({ host: 'localhost' }), ['127.0.0.1', '[::1]']);
  await assert.rejects(getPort({ host: '192.0.2.77' }), { code: 'address_not_available' });
});

test('port on another address is no obstacle to a host', async () => {
  const port = await freeRow(1);
  const server = await occupy(port, '127.0.0.1');
  assert.equal(await getPort({ port, host: '::1' }), port);
  server.close();
});

test('number is given once, whatever the host', async () => {
  const port = await freeRow(1);
  assert.equal(await getPort({ port, host: '127.0.0.1' }), port);
  const other = await getPort({ port, host: '::1' });
  assert.ok(isOfPool(other), `${other}`);
  assert.equal((await client.who(port)).leases.length, 1);
});

test('reserve is accepted', async () => {
  assert.equal((await onPort(await getPort({ reserve: true }))).state, 'handed');
});

test('bad options are refused as by get-port', async () => {
  await assert.rejects(getPort({ exclude: 5 }), TypeError);
  await assert.rejects(getPort({ exclude: ['3000'] }), TypeError);
  await assert.rejects(getPort({ port: 70_000 }), RangeError);
  await assert.rejects(getPort({ port: [3.5] }), RangeError);
  assert.throws(() => portNumbers(1, 2000), RangeError);
  assert.throws(() => portNumbers(3000, 2000), RangeError);
  assert.throws(() => portNumbers('3000', 3001), TypeError);
});

test('releasePort gives one port back, clearLockedPorts all', async () => {
  const port = await freeRow(2);
  assert.equal(await getPort({ port }), port);
  assert.equal(await releasePort(port), true);
  assert.equal(await releasePort(port), false);
  assert.equal(await getPort({ port, client: slowClient() }), port);
  // Not awaited, as in get-port.
  clearLockedPorts();
  assert.equal(await getPort({ port }), port);
});

test('clearLockedPorts without a service does not reject', async () => {
  await getPort();
  process.env.PORTBOOK_SOCKET = '/nonexistent/portbook.sock';
  await clearLockedPorts();
  process.env.PORTBOOK_SOCKET = service.socket;
});

test('death of the process frees its port', async () => {
  const port = await freeRow(1);
  const holder = start('holder.js', { port });
  assert.equal(await holder.line(), port);
  await assert.rejects(client.lease({ port }), { code: 'port_leased' });
  await holder.end();
  await until(async () => !(await onPort(port)), 'the end of the lease');
  assert.equal(await getPort({ port }), port);
});
