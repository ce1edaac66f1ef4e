// getPort where no service runs.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { clearLockedPorts, getPort, NoServiceError, releasePort } from 'portbook';
import { freeRow, occupy } from './support/occupy.js';

const warnings = [];
const listener = (warning) => warnings.push(warning);

before(() => {
  process.env.PORTBOOK_SOCKET = '/nonexistent/portbook.sock';
  process.on('warning', listener);
});
after(() => {
  delete process.env.PORTBOOK_SOCKET;
  process.off('warning', listener);
});
afterEach(() => {
  delete process.env.NODE_PORTBOOK_FALLBACK;
  return clearLockedPorts();
});

test('getPort rejects and names the way out', async () => {
  await assert.rejects(getPort(), (error) => {
    assert.ok(error instanceof NoServiceError);
    assert.match(error.message, /portbook serve/);
    return true;
  });
});

test('fallback chooses a free port and warns once', async () => {
  const ports = await Promise.all(Array.from({ length: 20 }, () => getPort({ fallback: true })));
  assert.equal(new Set(ports).size, 20);
  const server = await occupy(ports[0]);
  server.close();
  await new Promise(setImmediate);
  assert.deepEqual(warnings.map(({ name, code }) => [name, code]), [['PortbookWarning', 'PORTBOOK_NO_SERVICE']]);
});

test('environment allows the fallback and the program may forbid it', async () => {
  process.env.NODE_PORTBOOK_FALLBACK = '1';
  assert.ok((await getPort()) > 0);
  await assert.rejects(getPort({ fallback: false }), { code: 'no_service' });
  process.env.NODE_PORTBOOK_FALLBACK = '0';
  await assert.rejects(getPort(), { code: 'no_service' });
});

test('fallback heeds port, exclude and host', async () => {
  const port = await freeRow(3);
  const fallback = true;
  const server = await occupy(port, '127.0.0.1');
  assert.equal(await getPort({ fallback, port: [port, port + 1] }), port + 1);
  assert.equal(await getPort({ fallback, port: [port + 1, port + 2], exclude: [port + 2] }).then((it) => it > port + 2), true);
  assert.equal(await getPort({ fallback, port, host: '::1' }), port);
  const six = await occupy(port + 2, '::1');
  assert.notEqual(await getPort({ fallback, port: port + 2 }), port + 2);
  six.close();
  await assert.rejects(getPort({ fallback, port, host: '192.0.2.77' }), { code: 'EADDRNOTAVAIL' });
  assert.equal(await releasePort(port + 1), true);
  assert.equal(await getPort({ fallback, port: port + 1 }), port + 1);
  server.close();
});
