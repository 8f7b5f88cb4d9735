// What sessions cost that rest: memory and time for each of 10,000.
//
//   npm run sizes [-- SESSIONS]

import { serverDefaults, ServerSession } from '../dist/engine.js';

const sessions = Number(process.argv[2] ?? 10_000);
const options = { ...serverDefaults('bench.example.test'), unasked: { connection: true, hello: true } };
const begin = () => {
  const session = new ServerSession(options);
  session.start(0);
  session.receive(0, Buffer.from('EHLO client.example.org\r\n'));
  return session;
};
const memory = () => {
  globalThis.gc?.();
  return process.memoryUsage();
};
const measured = (count, work) => {
  const [time, cpu] = [performance.now(), process.cpuUsage()];
  work();
  const { user, system } = process.cpuUsage(cpu);
  return `${(((performance.now() - time) * 1000) / count).toFixed(0)} µs, ${((user + system) / count).toFixed(0)} µs of processor time`;
};

for (let i = 0; i < 2000; i++) begin().close();
console.log(`a session in an instance that is used again: ${measured(5000, () => {
  for (let i = 0; i < 5000; i++) begin().close();
})}`); // prettier-ignore
const before = memory();
const kept = [];
const cost = measured(sessions, () => {
  for (let i = 0; i < sessions; i++) kept.push(begin());
});
const after = memory();
console.log(`each of ${kept.length} sessions at a time: ${cost}`);
for (const name of ['rss', 'heapUsed']) console.log(`  ${name}: ${((after[name] - before[name]) / sessions / 1024).toFixed(1)} KiB a session`);
