// Compiled by `npm run types`, never run: how the package is used in TypeScript. What must not compile is marked.

import { createServer, createTestSink, discard, MisuseError, refuse, replay, SmtpClient, type Delivery, type Message, type Session } from 'hermetic-smtp';
import { ServerSession, serverDefaults, type Types } from 'hermetic-smtp/engine';
import { createTestSink as same } from 'hermetic-smtp/sink';

const server = createServer(
  { name: 'mx.example.test', messageSize: 1000, limits: { errors: 3, commandTimeout: 1000n } },
  {
    onConnect: (session: Session) => (session.remoteAddress === '192.0.2.1' ? refuse(554, '5.7.1', 'Not you') : undefined),
    onHello: (hello) => `Hello ${hello.host?.val}`,
    onRecipient: async (recipient) => (recipient.local === 'anna' ? true : refuse(550, '5.1.1', 'Nobody')),
    onAuth: ({ username, password }) => (password === 'secret' ? username : refuse(535, 'No')),
    onMessage: async (message: Message) => {
      const size: number = (await message.bytes()).length;
      const facts: bigint | undefined = message.facts?.size;
      return message.recipients.map(() => (size > 5 || facts === 0n ? 'Fine' : refuse({ code: 552 })));
    },
  },
);
const address: { port: number } = await server.listen(0);

// @ts-expect-error a server has to do something with messages
createServer({}, {});
// @ts-expect-error there is no such option
createServer({ hostname: 'x' }, { onMessage: discard });
// @ts-expect-error a verdict is no number
createServer({}, { onMessage: discard, onSender: () => 250 });

const client = new SmtpClient({ port: address.port, startTls: 'required', tls: { ca: 'x' } });
await client.connect();
const delivery: Delivery = await client.send({ from: null, to: ['a@b.test', { address: 'c@d.test', notify: { failure: true } }], content: 'x' });
for (const { address: who, fate, reply } of delivery.outcomes) {
  // @ts-expect-error there is no such fate
  if (fate === 'delivered') console.log(who);
  console.log(who, fate, reply?.code);
}
// @ts-expect-error a message has content
await client.send({ from: 'a@b.test', to: 'c@d.test' });

const sink = await createTestSink();
sink.refuse(/@example\.org$/, { code: 450 }, { times: 2, at: 'mail' }).delay('*', 10).drop((who) => who === 'x@y.test', { at: 'message' });
// @ts-expect-error there is no such point
sink.drop('*', { at: 'dot' });
const text: string = (await sink.waitFor(1))[0]?.text ?? '';

const session = new ServerSession(serverDefaults('a.test'));
const step: Types.Step = session.start(0);
if (step.need.tag === 'answer' && step.need.val.tag === 'connection') session.answer(0, { tag: 'connection', val: { tag: 'ok', val: undefined } });
try {
  session.tick(1n);
} catch (error) {
  if (error instanceof MisuseError) console.log(error.misuse?.tag, error.fault, text, replay('x').calls, same);
}
