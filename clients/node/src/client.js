// The service's API as methods. Documents pass as the service reads and writes them (docs/api.md).

import { randomUUID } from 'node:crypto';

import { duration } from './duration.js';
import { NoServiceError, PortbookError } from './errors.js';
import { exchange, isUnreachable } from './exchange.js';
import { checkOwner, sockets } from './sockets.js';

const TIMEOUT_MS = 30_000;

/**
 * Labels of the setting `client.labels`: `KEY=VALUE`, with commas between, or a JSON list.
 *
 * @returns {Record<string, string>}
 */
function ownLabels() {
  const text = process.env.PORTBOOK_CLIENT__LABELS ?? '';
  /** @type {string[]} */
  const words = text.startsWith('[') ? JSON.parse(text) : text.split(',');
  const pairs = words.map((word) => word.trim()).filter((word) => word.includes('='));
  return Object.fromEntries(pairs.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]));
}

/** Client of the service; it opens no connection before the first request and keeps none open. */
export class Client {
  #socket;
  #timeout;

  /** @param {import('../index.d.ts').ClientOptions} [options] */
  constructor({ socket, timeout = TIMEOUT_MS } = {}) {
    this.#socket = socket;
    this.#timeout = timeout;
  }

  /**
   * Leases ports. The owner is this process unless the request says otherwise.
   *
   * @param {import('../index.d.ts').LeaseRequest} [request]
   * @returns {Promise<import('../index.d.ts').Allocation>}
   */
  lease(request = {}) {
    const labels = { ...ownLabels(), ...request.labels };
    const owned = request.reserve ? request : { owner_pid: process.pid, ...request };
    const body = Object.keys(labels).length > 0 ? { ...owned, labels } : owned;
    // Names find their lease again by themselves; without one the key makes a repeated request safe.
    const isNamed = request.name !== undefined || request.names !== undefined;
    const headers = isNamed ? undefined : { 'idempotency-key': randomUUID() };
    const timeout = this.#timeout + duration(request.wait) + duration(request.timeout);
    return this.#send({ method: 'POST', path: '/leases', body, headers, timeout });
  }

  /**
   * Ends a lease. Resolves with `false` if it had ended before.
   *
   * @param {string | { id: string }} lease
   * @param {{ remember?: boolean }} [options]
   */
  async release(lease, { remember = false } = {}) {
    const id = encodeURIComponent(typeof lease === 'string' ? lease : lease.id);
    try {
      await this.request('DELETE', `/leases/${id}${remember ? '?remember=true' : ''}`);
      return true;
    } catch (error) {
      if (error instanceof PortbookError && error.code === 'not_found') return false;
      throw error;
    }
  }

  /**
   * Lists leases, newest first; all of them, however many pages the service makes of them.
   *
   * @param {import('../index.d.ts').LeaseFilter} [filter]
   * @returns {Promise<import('../index.d.ts').Lease[]>}
   */
  async leases(filter = {}) {
    const given = Object.entries(filter).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams([['limit', '1000'], ...given]);
    const found = [];
    for (let path = `/leases?${query}`; path; ) {
      const page = await this.request('GET', path);
      found.push(...page.leases);
      path = page.next?.replace('/api/v1', '');
    }
    return found;
  }

  /**
   * Tells who is on a port: leases, processes, and what is known of its past.
   *
   * @param {number} port
   * @param {{ protocol?: 'tcp' | 'udp' }} [options]
   * @returns {Promise<import('../index.d.ts').PortReport>}
   */
  who(port, { protocol = 'tcp' } = {}) {
    return this.request('GET', `/ports/${protocol}/${port}`);
  }

  /**
   * Sends any request of the API. It is sent again if the connection breaks before the answer.
   *
   * @param {string} method
   * @param {string} path path below /api/v1
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  request(method, path, body) {
    return this.#send({ method, path, body, timeout: this.#timeout });
  }

  /** @param {import('./exchange.js').Request} request */
  async #send(request) {
    const tried = [];
    // Sockets are looked for each time, so that a service may start or move while the program runs.
    for (const socket of this.#socket ? [this.#socket] : sockets()) {
      try {
        checkOwner(socket);
        return await exchange(socket, { ...request, path: `/api/v1${request.path}` });
      } catch (error) {
        if (!isUnreachable(error)) throw error;
        tried.push({ socket, error: /** @type {NodeJS.ErrnoException} */ (error) });
      }
    }
    throw new NoServiceError(tried);
  }
}
