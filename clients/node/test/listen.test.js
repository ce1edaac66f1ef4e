import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';

import { Client, listen } from 'portbook';
import { freeRow, occupy } from './support/occupy.js';
import { slowClient, start, until } from './support/programs.js';
import { startService } from './support/service.js';

const client = new Client();
let service;

before(async () => {
  service = await startService();
});
after(() => service.stop());

const webServer = () => http.createServer((_, answer) => answer.end('served'));
const isLeased = async (port) => (await client.who(port)).leases.length > 0;

test('server answers at the url and close gives the port back', async () => {
  const { port, url, lease, close } = await listen(webServer(), { client: slowClient() });
  assert.equal(url, `http://127.0.0.1:${port}`);
  assert.equal(lease.owner.pid, process.pid);
  assert.equal(await (await fetch(url)).text(), 'served');
  // fetch keeps its connection for the next request; close() must not wait for that.
  await close();
  assert.equal(await isLeased(port), false);
  await assert.rejects(fetch(url));
  await close();
});

test('server that closes itself gives the port back', async () => {
  const server = webServer();
  const { port } = await listen(server);
  server.close();
  await once(server, 'close');
  await until(async () => !(await isLeased(port)), 'the release');
});

test('close with force ends open requests', { timeout: 10_000 }, async () => {
  const server = http.createServer(() => {});
  const { url, close } = await listen(server);
  const request = http.get(url);
  await once(server, 'request');
  const failed = once(request, 'error');
  await close({ force: true });
  await failed;
});

test('name gets the same port again', async () => {
  const prefer = await freeRow(1);
  const first = await listen(webServer(), { name: 'again', prefer });
  assert.equal(first.port, prefer);
  await first.close();
  const second = await listen(webServer(), { name: 'again', prefer });
  assert.equal(second.port, prefer);
  await second.close();
  const third = await listen(webServer(), { name: 'from-the-pool' });
  await third.close();
  const fourth = await listen(webServer(), { name: 'from-the-pool' });
  assert.equal(fourth.port, third.port);
  await fourth.close();
});

test('name keeps its port after the death of its process', async () => {
  const holder = start('holder.js', { name: 'kept' }, true);
  const port = await holder.line();
  await assert.rejects(listen(webServer(), { name: 'kept' }), { code: 'name_taken' });
  await holder.end();
  await until(async () => (await client.leases({ name: 'kept' }))[0]?.state === 'reserved', 'the reservation');
  // Nobody else gets it, not even by its number.
  await assert.rejects(occupy(port), { code: 'EADDRINUSE' });
  const again = await listen(webServer(), { name: 'kept' });
  assert.equal(again.port, port);
  await again.close();
});

test('second server under one name is told of instances', async () => {
  const { port, close } = await listen(webServer(), { name: 'twice' });
  await assert.rejects(listen(webServer(), { name: 'twice' }), {
    code: 'name_taken',
    message: /its port \d+; .* instance: '2'/,
  });
  const second = await listen(webServer(), { name: 'twice', instance: '2' });
  assert.notEqual(second.port, port);
  await Promise.all([close(), second.close()]);
});

test('program that comes in between is passed over', async () => {
  // A client whose first lease is taken by another program before it returns.
  let intruder;
  const beaten = new Client();
  const { lease } = Client.prototype;
  beaten.lease = async function (request) {
    const allocation = await lease.call(this, request);
    intruder ??= await occupy(allocation.leases[0].port);
    return allocation;
  };
  const { port, url, close } = await listen(webServer(), { client: beaten });
  assert.notEqual(port, intruder.address().port);
  assert.equal(await (await fetch(url)).text(), 'served');
  assert.equal(await isLeased(intruder.address().port), false);
  await close();
  intruder.close();
});

test('exact port that is taken is refused with its occupant', async () => {
  const port = await freeRow(1);
  const other = await occupy(port);
  await assert.rejects(listen(webServer(), { port }), { code: 'port_in_use', message: /node \(pid \d+\)/ });
  other.close();
});

test('failed listen leaves no lease behind', async () => {
  const server = webServer();
  const { close } = await listen(server);
  const before = (await client.leases()).length;
  await assert.rejects(listen(server), { code: 'ERR_SERVER_ALREADY_LISTEN' });
  assert.equal((await client.leases()).length, before);
  await close();
});

test('host and class of the server are in the url', async () => {
  const six = await listen(webServer(), { host: '::1' });
  assert.equal(six.url, `http://[::1]:${six.port}`);
  assert.equal(await (await fetch(six.url)).text(), 'served');
  const local = await listen(webServer(), { host: 'localhost' });
  assert.equal(await (await fetch(local.url)).text(), 'served');
  // Held on every interface, served on one address.
  const second = await listen(webServer(), { host: '127.0.0.2', interfaces: ['any'] });
  assert.equal(second.url, `http://127.0.0.2:${second.port}`);
  const every = await listen(net.createServer(), { host: '::' });
  assert.equal(every.url, `tcp://127.0.0.1:${every.port}`);
  const named = await listen(net.createServer(), { scheme: 'redis' });
  assert.match(named.url, /^redis:/);
  await Promise.all([six, local, second, every, named].map((it) => it.close()));
});
