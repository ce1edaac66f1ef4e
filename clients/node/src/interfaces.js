// From the host that a Node server listens on to the interfaces that portbook holds the port on.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

/**
 * Selectors for the addresses that a server with these options binds. `undefined` leaves the choice
 * to the pool, which holds every interface unless it is configured otherwise.
 *
 * @param {string | undefined} host
 * @param {boolean} ipv6Only
 * @returns {Promise<string[] | undefined>}
 */
export async function interfacesOf(host, ipv6Only = false) {
  if (!host) return ipv6Only ? ['::'] : undefined;
  // Node's `::` takes IPv4 too.
  if (host === '::') return [ipv6Only ? '::' : 'any'];
  // Both halves: clients try either, and another program on the other half would answer in our place.
  if (host === 'localhost') return ['loopback'];
  if (isIP(host)) return [host];
  const { address } = await lookup(host);
  return [address];
}
