// Those who take part in a test beside it: programs, and a slow way to the service.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Client } from 'portbook';

/**
 * Starts a program of this folder. `line()` resolves with the next line that it prints, as JSON;
 * `end()` kills it and waits until it is gone.
 */
export function start(name, ...settings) {
  const file = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [file, ...settings.map((it) => JSON.stringify(it))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    child,
    async line() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended early`);
      return JSON.parse(value);
    },
    async end() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Waits until a condition holds; fails after ten seconds. */
export async function until(condition, what) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A client whose releases take their time, so that a caller who does not wait for them is found out. */
export function slowClient() {
  const client = new Client();
  client.release = async (...given) => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return Client.prototype.release.apply(client, given);
  };
  return client;
}
