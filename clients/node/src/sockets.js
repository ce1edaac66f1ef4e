// The sockets where a service may listen, in the order in which the portbook command asks them.

import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

import { PortbookError } from './errors.js';

const SYSTEM_SOCKET = '/run/portbook/portbook.sock';
const SYSTEM_DATA = '/var/lib/portbook';

/**
 * Yields the sockets to try. PORTBOOK_SOCKET is the only one if it is set.
 *
 * @param {NodeJS.ProcessEnv} environment
 * @param {number} uid
 * @returns {Generator<string>}
 */
export function* sockets(environment = process.env, uid = ownUid()) {
  if (environment.PORTBOOK_SOCKET) {
    yield environment.PORTBOOK_SOCKET;
    return;
  }
  const own = environment.PORTBOOK_DATA_DIR;
  const data = own || dataDirectory(environment, uid);
  const seen = new Set();
  // A data directory of one's own means a service of one's own: the host's is not asked then.
  const places = [
    () => (own ? join(own, 'portbook.sock') : defaultSocket(environment, uid, data)),
    () => signedSocket(data),
    () => (own ? undefined : SYSTEM_SOCKET),
  ];
  for (const place of places) {
    const socket = place();
    if (!socket || seen.has(socket)) continue;
    seen.add(socket);
    yield socket;
  }
}

/**
 * Refuses the socket of a user who is not trusted: another user could have put it there, and would
 * learn of our requests and make up answers. The service's own user, root and
 * PORTBOOK_CLIENT__TRUSTED_UIDS are trusted, as by the portbook command. A missing file passes: the
 * connection fails then.
 *
 * @param {string} socket
 * @param {NodeJS.ProcessEnv} environment
 */
export function checkOwner(socket, environment = process.env) {
  const owner = uidOf(socket);
  if (owner === undefined || [0, ownUid()].includes(owner)) return;
  // Only root can make the folder in /run, and gives it to the user of the service.
  if (socket === SYSTEM_SOCKET && uidOf(dirname(socket)) === owner) return;
  /** @type {string[]} */
  const trusted = environment.PORTBOOK_CLIENT__TRUSTED_UIDS?.match(/\d+/g) ?? [];
  if (trusted.includes(String(owner))) return;
  const detail =
    `${socket} belongs to uid ${owner}, which is neither you nor root: name another socket, ` +
    `or trust it with PORTBOOK_CLIENT__TRUSTED_UIDS=${owner}`;
  throw new PortbookError({ code: 'untrusted', detail });
}

/** Effective user id; Linux always has one. */
function ownUid() {
  return process.geteuid?.() ?? -1;
}

/** @param {string} path */
function uidOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.uid;
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @param {number} uid
 */
function dataDirectory(environment, uid) {
  if (uid === 0) return SYSTEM_DATA;
  return join(baseDirectory(environment.XDG_STATE_HOME) ?? join(homedir(), '.local/state'), 'portbook');
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @param {number} uid
 * @param {string} data
 */
function defaultSocket(environment, uid, data) {
  if (uid === 0) return SYSTEM_SOCKET;
  return join(baseDirectory(environment.XDG_RUNTIME_DIR) ?? data, 'portbook.sock');
}

/**
 * A base directory; a relative one counts as unset, as the XDG specification asks.
 *
 * @param {string | undefined} path
 */
function baseDirectory(path) {
  return path && isAbsolute(path) ? path : undefined;
}

/**
 * The socket that the latest service of a data directory wrote into the lock file.
 *
 * @param {string} data
 */
function signedSocket(data) {
  try {
    return readFileSync(join(data, 'lock'), 'utf8').split('\n')[1] || undefined;
  } catch {
    return undefined;
  }
}
