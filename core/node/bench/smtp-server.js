// nodemailer's smtp-server doing the same: every message goes through a handler, which lets it go.

import { SMTPServer } from 'smtp-server';

new SMTPServer({
  authOptional: true,
  disabledCommands: ['AUTH', 'STARTTLS'],
  disableReverseLookup: true,
  size: 67_108_864,
  socketTimeout: 3_600_000,
  logger: false,
  onData(stream, session, done) {
    stream.on('end', done);
    stream.resume();
  },
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
