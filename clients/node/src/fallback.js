// Ports without a service: numbers that were free a moment ago, and that nothing holds. Node cannot
// bind a TCP port without listening on it, so this package has nothing to hold one with.

import { createServer } from 'node:net';

import { preferredPorts } from './port-sets.js';

const VARIABLE = 'NODE_PORTBOOK_FALLBACK';

// Numbers that this process was given, so that it is not given one twice.
const given = new Set();

let isWarned = false;

/**
 * Whether the program, or else its environment, accepts ports that nothing holds.
 *
 * @param {{ fallback?: boolean }} options
 */
export function isAllowed({ fallback }) {
  return fallback ?? !['', '0', 'false'].includes(process.env[VARIABLE] ?? '');
}

/**
 * Finds a port that is free at this moment: a preferred one, else one of the kernel's choice.
 *
 * @param {import('../index.d.ts').GetPortOptions} options
 * @param {Set<number>} exclude
 * @returns {Promise<number>}
 */
export async function choose(options, exclude) {
  warnOnce();
  for (const port of preferredPorts(options.port, exclude)) {
    if (!given.has(port) && (await isFree(port, options))) return keep(port);
  }
  for (;;) {
    const port = await tryPort({ port: 0, host: options.host, ipv6Only: options.ipv6Only });
    if (!given.has(port) && !exclude.has(port)) return keep(port);
  }
}

/**
 * Allows a number to be given again. Returns whether it was given.
 *
 * @param {number} port
 */
export function forget(port) {
  return given.delete(port);
}

/** Allows all numbers to be given again. */
export function forgetAll() {
  given.clear();
}

function warnOnce() {
  if (isWarned) return;
  isWarned = true;
  process.emitWarning(
    'no portbook service answers: ports of getPort are free when they are chosen, and nothing holds them ' +
      'until the program listens; start a service with `portbook serve`',
    { type: 'PortbookWarning', code: 'PORTBOOK_NO_SERVICE' },
  );
}

/** @param {number} port */
function keep(port) {
  given.add(port);
  return port;
}

/**
 * Whether a server can listen on a port. On Linux one without a host is refused if any address of the
 * host has a listener there.
 *
 * @param {number} port
 * @param {import('../index.d.ts').GetPortOptions} options
 */
async function isFree(port, { host, ipv6Only }) {
  try {
    await tryPort({ port, host, ipv6Only });
    return true;
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'EADDRINUSE' || code === 'EACCES') return false;
    throw error;
  }
}

/**
 * Listens on a port for a moment and resolves with its number.
 *
 * @param {import('node:net').ListenOptions} options
 * @returns {Promise<number>}
 */
function tryPort(options) {
  return new Promise((resolve, reject) => {
    const server = createServer().unref().on('error', reject);
    server.listen({ ...options, exclusive: true }, () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}
