// No SMTP server: it says yes to every line without looking at it. What is left is the cost of Node's sockets, below which nobody gets.

import { createServer } from 'node:net';

createServer({ noDelay: true }, (socket) => {
  let content = false;
  socket.on('error', () => {});
  socket.write('220 floor\r\n');
  socket.on('data', (octets) => {
    if (content) {
      if (octets.length < 5 || octets.latin1Slice(octets.length - 5) !== '\r\n.\r\n') return;
      content = false;
      socket.write('250 ok\r\n');
    } else if (octets[0] === 0x44) {
      content = true;
      socket.write('354 ok\r\n');
    } else if (octets[0] === 0x51) socket.end('221 ok\r\n');
    else socket.write('250 ok\r\n');
  });
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
