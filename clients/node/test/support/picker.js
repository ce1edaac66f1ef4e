// Gets ports, lets some time pass, and listens on each of them: `picker.js COUNT DELAY_MS`.

import { once } from 'node:events';
import { createServer } from 'node:http';

import getPort from 'portbook';

const [count, delay] = process.argv.slice(2).map(Number);
const ports = await Promise.all(Array.from({ length: count }, () => getPort()));
await new Promise((resolve) => setTimeout(resolve, delay));
const failed = [];
for (const port of ports) {
  const server = createServer().listen(port);
  await once(server, 'listening').catch((error) => failed.push(`${port}: ${error.code}`));
}
console.log(JSON.stringify({ ports, failed }));
process.stdin.resume();
