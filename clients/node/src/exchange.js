// One HTTP exchange with the service over its Unix socket.

import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { PortbookError } from './errors.js';

// The service closes connections above a user's limit (32 at least, all processes together).
const agent = new http.Agent({ maxSockets: 4 });

// Pauses before a request is sent again because its answer got lost.
const PAUSES_MS = [10, 50, 250];

/**
 * @typedef {object} Request
 * @property {string} method
 * @property {string} path
 * @property {object} [body] JSON document
 * @property {Record<string, string>} [headers]
 * @property {number} timeout milliseconds
 */

/**
 * Sends a request and returns the JSON document of the answer; `undefined` if the answer is empty.
 * The request is sent again if the connection breaks, so it must be safe to repeat.
 *
 * @param {string} socketPath
 * @param {Request} request
 * @returns {Promise<any>}
 */
export async function exchange(socketPath, request) {
  for (const pause of PAUSES_MS) {
    try {
      return understand(await send(socketPath, request));
    } catch (error) {
      if (!isBroken(error)) throw error;
      await sleep(pause);
    }
  }
  return understand(await send(socketPath, request));
}

/**
 * Whether nothing accepts connections on the socket.
 *
 * @param {any} error
 */
export function isUnreachable(error) {
  return error?.syscall === 'connect';
}

/** @param {any} error */
function isBroken(error) {
  return !isUnreachable(error) && ['ECONNRESET', 'EPIPE'].includes(error?.code);
}

/**
 * @param {string} socketPath
 * @param {Request} request
 * @returns {Promise<{ status: number, text: string }>}
 */
function send(socketPath, { method, path, body, headers, timeout }) {
  const text = body && JSON.stringify(body);
  const type = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const fail = (/** @type {any} */ error) => {
      clearTimeout(timer);
      reject(error);
    };
    const request = http.request(
      { socketPath, agent, method, path, headers: { host: 'localhost', ...type, ...headers } },
      (answer) => {
        let received = '';
        answer.setEncoding('utf8');
        answer.on('data', (piece) => (received += piece));
        answer.on('error', fail);
        answer.on('end', () => {
          clearTimeout(timer);
          resolve({ status: answer.statusCode ?? 0, text: received });
        });
      },
    );
    const timer = setTimeout(() => request.destroy(silent(socketPath, timeout)), timeout);
    request.on('error', fail);
    request.end(text);
  });
}

/** @param {{ status: number, text: string }} answer */
function understand({ status, text }) {
  const document = parse(text);
  if (status >= 200 && status < 300) {
    if (document === null) throw unusable(status);
    return document;
  }
  if (typeof document?.code !== 'string' || typeof document.detail !== 'string') throw unusable(status);
  throw new PortbookError({ status, ...document });
}

/**
 * @param {string} text
 * @returns {any} `null` if it is not JSON, `undefined` if it is empty
 */
function parse(text) {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {number} status */
function unusable(status) {
  return new PortbookError({ code: 'invalid_answer', status, detail: `the answer, with status ${status}, is not portbook's` });
}

/**
 * @param {string} socket
 * @param {number} timeout
 */
function silent(socket, timeout) {
  const detail = `the portbook service on ${socket} has not answered within ${timeout / 1000} s; \`portbook status\` looks at it`;
  return new PortbookError({ code: 'timed_out', detail });
}
