// listen: a server on a leased port, from the lease to its release.

import http from 'node:http';
import { isIPv6 } from 'node:net';
import tls from 'node:tls';

import { Client } from './client.js';
import { PortbookError } from './errors.js';
import { interfacesOf } from './interfaces.js';

/** @typedef {import('../index.d.ts').Client} Service */

// A program that aims at this very number can come in between lease and listen; then the service is
// asked again, which sees that program and grants another port, or names it in its refusal.
const MAX_ATTEMPTS = 3;

/** Ids of leases that servers of this process listen on. */
const served = new Set();

/**
 * Leases a port, makes the server listen on it, and releases it when the server closes.
 *
 * @param {import('node:net').Server} server
 * @param {import('../index.d.ts').ListenOptions} [options]
 * @returns {Promise<import('../index.d.ts').Listening>}
 */
export async function listen(server, options = {}) {
  const { host, ipv6Only, scheme = schemeOf(server), ...rest } = options;
  const { client = /** @type {Service} */ (new Client()), ...request } = rest;
  request.interfaces ??= await interfacesOf(host, ipv6Only);
  for (let attempt = 1; ; attempt++) {
    const { leases } = await client.lease(request);
    const [lease] = leases;
    if (served.has(lease.id)) throw alreadyServed(lease);
    served.add(lease.id);
    try {
      await bind(server, { port: lease.port, host: host ?? lease.host, ipv6Only });
      return listening(server, client, lease, scheme);
    } catch (error) {
      await giveBack(client, lease);
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== 'EADDRINUSE' || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

/**
 * @param {import('node:net').Server} server
 * @param {import('node:net').ListenOptions} options
 */
function bind(server, options) {
  return new Promise((resolve, reject) => {
    const settle = (/** @type {Error | undefined} */ error) => {
      server.off('error', settle).off('listening', settle);
      if (error) reject(error);
      else resolve(undefined);
    };
    server.on('error', settle).on('listening', settle);
    server.listen(options);
  });
}

/**
 * @param {import('node:net').Server} server
 * @param {Service} client
 * @param {import('../index.d.ts').Lease} lease
 * @param {string} scheme
 * @returns {import('../index.d.ts').Listening}
 */
function listening(server, client, lease, scheme) {
  /** @type {Promise<unknown> | undefined} */
  let released;
  const release = () => (released ??= giveBack(client, lease));
  // A server that is closed by its own method gives the port back too. Without a service that hears
  // it the lease ends with the process, so nothing is lost.
  server.once('close', () => release().catch(() => {}));
  return {
    port: lease.port,
    url: urlOf(server, lease, scheme),
    lease,
    async close({ force = false } = {}) {
      await shut(server, force);
      await release();
    },
  };
}

/**
 * Closes a server; one that is closed already is done.
 *
 * @param {import('node:net').Server} server
 * @param {boolean} force
 */
function shut(server, force) {
  const web = server instanceof http.Server || server instanceof tls.Server ? /** @type {any} */ (server) : undefined;
  return new Promise((resolve) => {
    server.close(() => resolve(undefined));
    // Clients keep idle connections for their next request; before Node 19 close() waits for them.
    if (force) web?.closeAllConnections?.();
    else web?.closeIdleConnections?.();
  });
}

/**
 * @param {Service} client
 * @param {import('../index.d.ts').Lease} lease
 */
async function giveBack(client, lease) {
  served.delete(lease.id);
  // A name keeps its number for the next time.
  await client.release(lease, { remember: lease.name !== null });
}

/**
 * @param {import('node:net').Server} server
 * @param {import('../index.d.ts').Lease} lease
 * @param {string} scheme
 */
function urlOf(server, lease, scheme) {
  // `localhost` may be either of two addresses; the server knows which one it is.
  const { address } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const host = ['0.0.0.0', '::'].includes(address) ? lease.host : address;
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${lease.port}`;
}

/** @param {import('node:net').Server} server */
function schemeOf(server) {
  if (server instanceof tls.Server) return 'https';
  return server instanceof http.Server ? 'http' : 'tcp';
}

/** @param {import('../index.d.ts').Lease} lease */
function alreadyServed({ name, port }) {
  const detail =
    `name ${name} is taken: a server of this process listens on its port ${port}; ` +
    "for a second one beside it ask for an instance, such as instance: '2'";
  return new PortbookError({ code: 'name_taken', detail });
}
