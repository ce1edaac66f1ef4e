// A service of its own for a test file: its record in a temporary folder, its socket in there too.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Program to test with; run-tests sets it. */
export const program = process.env.PORTBOOK ?? 'portbook';

/** The environment without settings of the machine's own portbook. */
export function cleanEnvironment() {
  const own = ([name]) => !/^(NODE_)?PORTBOOK/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(own));
}

/**
 * Starts a service and points this process at it, until `stop`.
 *
 * @param {Record<string, string>} settings further variables
 */
export async function startService(settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'portbook-'));
  const socket = join(folder, 's.sock');
  const environment = { ...cleanEnvironment(), PORTBOOK_DATA_DIR: folder, PORTBOOK_SOCKET: socket };
  const child = spawn(program, ['serve', '--log', 'error'], {
    env: { ...environment, ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([once(createInterface(child.stdout), 'line'), failure(child)]);
  process.env.PORTBOOK_SOCKET = socket;
  const stop = async () => {
    delete process.env.PORTBOOK_SOCKET;
    if (child.kill()) await once(child, 'exit');
    rmSync(folder, { recursive: true });
  };
  return { socket, environment, stop };
}

async function failure(child) {
  const [status] = await once(child, 'exit');
  throw new Error(`portbook serve ended with ${status} before it was ready`);
}
