// The server as it is measured: every message goes through a handler, which lets it go. PORT on the command line.

import { createServer } from '../dist/index.js';

const server = createServer({ name: 'bench.example.test', sessions: 12_000, messageSize: 67_108_864, limits: { recipients: 2000, commandTimeout: 3_600_000n } }, { onMessage() {} });
await server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
