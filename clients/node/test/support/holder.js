// Leases a port and stays: `holder.js GETPORT_OPTIONS`, or `holder.js LISTEN_OPTIONS true` to serve on it.

import { createServer } from 'node:http';

import { getPort, listen } from 'portbook';

const [options, serves] = process.argv.slice(2).map((it) => JSON.parse(it));
const port = serves ? (await listen(createServer((_, answer) => answer.end('held')), options)).port : await getPort(options);
console.log(JSON.stringify(port));
process.stdin.resume();
