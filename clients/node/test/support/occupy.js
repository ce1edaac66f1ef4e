// Sockets of other programs, as a test needs them in the way.

import { once } from 'node:events';
import { createServer } from 'node:net';

/** Listens on a port and resolves with the server. */
export async function occupy(port, host) {
  const server = createServer().listen({ port, host });
  await once(server, 'listening');
  return server;
}

/** A number below the ephemeral range on which nothing listens, with so many free ones above it. */
export async function freeRow(length) {
  for (let first = 18_000 + (process.pid % 1000); ; first += length) {
    const servers = await Promise.allSettled(Array.from({ length }, (_, index) => occupy(first + index)));
    const open = servers.filter(({ status }) => status === 'fulfilled');
    await Promise.all(open.map(({ value }) => new Promise((resolve) => value.close(resolve))));
    if (open.length === length) return first;
  }
}
