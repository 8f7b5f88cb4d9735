import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createTestSink } from 'hermetic-smtp/sink';
import { welcome } from '../welcome.js';

let sink;
beforeAll(async () => {
  sink = await createTestSink();
});
beforeEach(() => sink.reset());
afterAll(() => sink.close());

test('the welcome arrives', async () => {
  expect(await welcome('anna@example.org', sink)).toBe('sent');
  const [message] = await sink.waitFor(1);
  expect(message.to).toEqual(['anna@example.org']);
  expect(message.text).toMatch(/^Subject: Welcome\r$/m);
});

test('a full mailbox is tried again', async () => {
  sink.refuse('anna@example.org', { code: 452, status: '4.2.2', text: 'Mailbox full' }, { times: 1 });
  expect(await welcome('anna@example.org', sink)).toBe('sent');
  expect(sink.messages).toHaveLength(1);
});

test('an address that does not exist is not', async () => {
  sink.refuse('nobody@example.org', { code: 550, status: '5.1.1', text: 'No such user' });
  expect(await welcome('nobody@example.org', sink)).toBe('no such address');
  expect(sink.messages).toHaveLength(0);
});

test('a connection that breaks behind the message sends it twice', async () => {
  sink.drop('anna@example.org', { at: 'message', times: 1 });
  expect(await welcome('anna@example.org', sink)).toBe('sent');
  expect(sink.messages).toHaveLength(2);
});
