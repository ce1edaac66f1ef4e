// getPort: the call of the npm package get-port, with a lease behind the number.

import { Client } from './client.js';
import { NoServiceError, PortbookError } from './errors.js';
import * as unheld from './fallback.js';
import { interfacesOf } from './interfaces.js';
import { excludedPorts, preferredPorts, without } from './port-sets.js';

export { portNumbers } from './port-sets.js';

/** @typedef {import('../index.d.ts').Client} Service */

// Refusals that concern one port: the next preferred one is asked for.
const NEXT_PORT = ['port_in_use', 'port_leased', 'port_excluded', 'privileged_port', 'attempts_exhausted'];

/**
 * Leases of getPort in this process, by port.
 *
 * @type {Map<number, { client: Service, lease: import('../index.d.ts').Lease }>}
 */
const leased = new Map();

/** @type {Promise<unknown>} */
let clearing = Promise.resolve();

/**
 * Leases a port for this process and resolves with its number.
 *
 * @param {import('../index.d.ts').GetPortOptions} [options]
 * @returns {Promise<number>}
 */
export async function getPort(options = {}) {
  const exclude = excludedPorts(options.exclude);
  /** @type {Service} */
  const client = options.client ?? new Client();
  // clearLockedPorts() need not be awaited, as in get-port.
  await clearing;
  try {
    return await chooseNew(client, options, exclude);
  } catch (error) {
    if (error instanceof NoServiceError && unheld.isAllowed(options)) return unheld.choose(options, exclude);
    throw error;
  }
}

/**
 * Gives back a port of getPort before the process ends. Resolves with `false` if it is none.
 *
 * @param {number} port
 */
export async function releasePort(port) {
  const found = leased.get(port);
  if (!found) return unheld.forget(port);
  leased.delete(port);
  return found.client.release(found.lease);
}

/** Gives back all ports of getPort. */
export async function clearLockedPorts() {
  unheld.forgetAll();
  // Not every caller awaits it, so it never rejects: a lease that stays ends with the process.
  clearing = Promise.allSettled([...leased.keys()].map(releasePort));
  await clearing;
}

/**
 * Leases a number that getPort has not given to this process yet. The service may grant one number
 * twice, for different addresses; programs that know a port by its number alone would mix them up.
 *
 * @param {Service} client
 * @param {import('../index.d.ts').GetPortOptions} options
 * @param {Set<number>} exclude
 * @returns {Promise<number>}
 */
async function chooseNew(client, options, exclude) {
  const lease = await choose(client, options, exclude);
  if (!leased.has(lease.port)) {
    leased.set(lease.port, { client, lease });
    return lease.port;
  }
  await client.release(lease);
  return chooseNew(client, options, new Set([...exclude, lease.port]));
}

/**
 * @param {Service} client
 * @param {import('../index.d.ts').GetPortOptions} options
 * @param {Set<number>} exclude
 */
async function choose(client, options, exclude) {
  const interfaces = await interfacesOf(options.host, options.ipv6Only);
  for (const port of preferredPorts(options.port, exclude)) {
    // One number alone is left to the service as a preference: it records why it took another one.
    if (typeof options.port === 'number' && exclude.size === 0) {
      return first(client, { interfaces, prefer: port, prefer_span: 0 });
    }
    try {
      return await first(client, { interfaces, port });
    } catch (error) {
      if (!(error instanceof PortbookError) || !NEXT_PORT.includes(error.code)) throw error;
    }
  }
  return first(client, { interfaces, ranges: await rangesWithout(client, exclude) });
}

/**
 * @param {Service} client
 * @param {import('../index.d.ts').LeaseRequest} request
 */
async function first(client, request) {
  const { leases } = await client.lease(request);
  return leases[0];
}

/**
 * The default pool's ranges without the excluded ports. `undefined`, the whole pool, if there are none.
 *
 * @param {Service} client
 * @param {Set<number>} exclude
 */
async function rangesWithout(client, exclude) {
  if (exclude.size === 0) return undefined;
  const { pools } = await client.request('GET', '/pools');
  const pool = pools.find((/** @type {{ name: string }} */ { name }) => name === 'default');
  const rest = without(pool.ranges, exclude);
  if (rest) return rest;
  const detail = `exclude leaves no port of the pool default, which has ${pool.ranges}`;
  throw new PortbookError({ code: 'pool_exhausted', detail });
}
