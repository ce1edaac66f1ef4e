// Public surface of the package. Types and descriptions: index.d.ts.

export { getPort, getPort as default, portNumbers, releasePort, clearLockedPorts } from './src/get-port.js';
export { listen } from './src/listen.js';
export { Client } from './src/client.js';
export { PortbookError, NoServiceError } from './src/errors.js';
