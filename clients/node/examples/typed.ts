// A program in TypeScript, checked under `tsc --strict`: it uses each public item once.

import { createServer } from 'node:http';

import getPort, {
  Client,
  clearLockedPorts,
  getPort as byName,
  listen,
  NoServiceError,
  PortbookError,
  portNumbers,
  releasePort,
  type Allocation,
  type GetPortOptions,
  type Lease,
  type LeaseRequest,
  type Listening,
} from 'portbook';

const options: GetPortOptions = { port: portNumbers(3000, 3100), exclude: [3001], host: '127.0.0.1', reserve: true };
const port: number = await getPort(options);
const other: number = await byName({ port: [port, 8080], fallback: false, backlog: 5 });
const wasOurs: boolean = await releasePort(other);

const listening: Listening = await listen(createServer(), { name: 'typed', prefer: 4000, labels: { of: 'types' } });
const { url, lease }: { url: string; lease: Lease } = listening;
await listening.close({ force: true });

const client = new Client({ timeout: 5000 });
const request: LeaseRequest = { name: 'api', instance: '2', wait: '10s', ttl: 3600 };
const allocation: Allocation = await client.lease(request);
const released: boolean = await client.release(allocation.leases[0]!, { remember: true });
const states = (await client.leases({ state: 'active' })).map(({ name, owner }) => `${name ?? '-'} ${owner?.pid ?? '-'}`);
const { occupants } = await client.who(5432, { protocol: 'tcp' });

try {
  await client.request('POST', `/leases/${lease.id}/renew`, { ttl: '1h' });
} catch (error) {
  if (error instanceof NoServiceError) console.error(error.sockets.join());
  else if (error instanceof PortbookError) console.error(error.code, error.detail, error.status ?? 0);
}
await clearLockedPorts();
console.log(url, wasOurs, released, states, occupants.length);

// @ts-expect-error ports are numbers
await getPort({ port: '3000' });
// @ts-expect-error a server has one port
await listen(createServer(), { count: 2 });
// @ts-expect-error no such state
await client.leases({ state: 'idle' });
