// Messages a second and processor time a message, beside nodemailer's smtp-server in the same run.
//
//   npm run bench [-- ROUNDS [SECONDS]]
//
// M1: one message of 4 KiB a connection, M2: many; 50 clients, by Postfix's smtp-source. Rounds are interleaved, and each begins with
// messages that do not count: what is compared is what a server does when it runs. Processor time is user and system of the process.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';

const [rounds = 3, seconds = 2] = process.argv.slice(2).map(Number);
const PEERS = { 'hermetic-smtp': 'server.js', 'smtp-server': 'smtp-server.js', 'no server (floor)': 'floor.js' };
const MEASURES = { M1: [], M2: ['-d'] };
const TICK = 1e6 / Number(execFileSync('getconf', ['CLK_TCK']));
let port = 20_000 + (process.pid % 20_000);

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const cpu = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK;
};

async function started(pid) {
  for (let i = 0; i < 200; i++) {
    const socket = connect(port, '127.0.0.1');
    const up = await Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)]).catch(() => false);
    socket.destroy();
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`process ${pid} does not serve`);
}

function send(flags, messages) {
  const begun = performance.now();
  execFileSync('smtp-source', [...flags, '-s', '50', '-l', '4096', '-m', String(messages), '-f', 'a@example.org', '-t', 'b@example.test', `127.0.0.1:${port}`]);
  return (performance.now() - begun) / 1000;
}

const found = {};
for (let round = 0; round < rounds; round++) {
  for (const [name, file] of Object.entries(PEERS)) {
    port++;
    const server = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url)), String(port)], { stdio: ['ignore', 'inherit', 'inherit'] });
    try {
      await started(server.pid);
      for (const [measure, flags] of Object.entries(MEASURES)) {
        const warm = 3000;
        const messages = Math.max(1000, Math.round((warm / send(flags, warm)) * seconds));
        const before = cpu(server.pid);
        const time = send(flags, messages);
        const figures = ((found[measure] ??= {})[name] ??= { rate: [], cpu: [] });
        figures.rate.push(messages / time);
        figures.cpu.push((cpu(server.pid) - before) / messages);
      }
    } finally {
      server.kill();
      await once(server, 'exit');
    }
  }
}

console.log(`Node ${process.version}, ${rounds} rounds of about ${seconds} s, load ${loadavg()[0].toFixed(1)}; medians\n`);
for (const [measure, peers] of Object.entries(found)) {
  console.log(`| ${measure} | msg/s | of smtp-server | CPU, µs a message | of smtp-server |\n| --- | --- | --- | --- | --- |`);
  const base = peers['smtp-server'];
  for (const [name, { rate, cpu: time }] of Object.entries(peers)) {
    const [r, t] = [median(rate), median(time)];
    console.log(`| ${name} | ${r.toFixed(0)} (${Math.min(...rate).toFixed(0)}–${Math.max(...rate).toFixed(0)}) | ${(r / median(base.rate)).toFixed(2)} | ${t.toFixed(0)} (${Math.min(...time).toFixed(0)}–${Math.max(...time).toFixed(0)}) | ${(t / median(base.cpu)).toFixed(2)} |`);
  }
  console.log();
}
