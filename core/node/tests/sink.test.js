// The test sink: what it records, and each way that it can be told to fail.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createTestSink, SmtpClient, ValueError } from '../dist/index.js';

async function connected(sink, options = {}) {
  const client = new SmtpClient({ port: sink.port, ...options });
  await client.connect();
  return client;
}

const letter = { from: 'a@b.test', to: ['c@d.test', 'e@f.test'], content: 'Subject: x\r\n\r\ntext\r\n' };

test('messages are recorded as they were accepted', async () => {
  await using_(createTestSink(), async (sink) => {
    const client = await connected(sink);
    await client.send(letter);
    const [message] = await sink.waitFor(1);
    assert.deepEqual(message, { from: 'a@b.test', to: ['c@d.test', 'e@f.test'], content: Buffer.from(letter.content), text: letter.content, secure: false, login: undefined, session: 1 });
    await client.quit();
    assert.equal(sink.sessions, 1);
    sink.reset();
    assert.equal(sink.messages.length, 0);
    await assert.rejects(sink.waitFor(1, 20), /has 0 messages after 20 ms; expected 1/);
  });
});

test('a refusal counts for its recipient and its times only', async () => {
  await using_(createTestSink(), async (sink) => {
    sink.refuse('C@d.test', { code: 452, status: '4.2.2', text: 'Full' }, { times: 1 });
    const client = await connected(sink);
    const first = await client.send(letter);
    assert.deepEqual([first.accepted, first.rejected], [['e@f.test'], ['c@d.test']]);
    assert.deepEqual([first.outcomes[0].fate, first.outcomes[0].reply.text], ['temporary', 'Full']);
    assert.deepEqual((await client.send(letter)).accepted, letter.to);
    assert.deepEqual(sink.messages.map(({ to }) => to), [['e@f.test'], letter.to]);
    await client.quit();
  });
});

test('each point of a session can refuse', async () => {
  const no = { code: 550, status: '5.7.1', text: 'No' };
  await using_(createTestSink({ plaintextAuth: true, users: { anna: 'secret' } }), async (sink) => {
    sink.refuse('*', no, { at: 'connect', times: 1 });
    await assert.rejects(connected(sink), { code: 'HERMETIC_REFUSED' });
    const client = await connected(sink, { plaintextAuth: true, chunking: false });
    sink.refuse('anna', no, { at: 'auth', times: 1 });
    await assert.rejects(client.login('anna', 'secret'), { code: 'HERMETIC_LOGIN' });
    await assert.rejects(client.login('anna', 'wrong'), { code: 'HERMETIC_LOGIN' });
    await client.login('anna', 'secret');
    for (const [who, at, stage] of [['a@b.test', 'mail', 'mail'], [/@d\.test$/g, 'data', 'data'], [(address) => address === 'c@d.test', 'message', 'message'], ['*', 'content', 'message']]) {
      sink.refuse(who, no, { at, times: 1 });
      const { outcomes } = await client.send({ ...letter, to: ['c@d.test'] });
      assert.deepEqual([outcomes[0].fate, outcomes[0].stage], ['permanent', stage], at);
    }
    assert.equal(sink.messages.length, 0);
    await client.send(letter);
    assert.equal(sink.messages[0].login, 'anna');
    await client.quit();
  });
});

test('the connection is dropped at an exact point', async () => {
  await using_(createTestSink(), async (sink) => {
    for (const [at, fate, kept] of [['mail', 'temporary', 0], ['rcpt', 'temporary', 0], ['data', 'temporary', 0], ['content', 'unknown', 0], ['message', 'unknown', 1]]) {
      sink.reset();
      sink.drop('*', { at, times: 1 });
      const client = await connected(sink, { chunking: false, pipelining: false });
      const { outcomes } = await client.send({ ...letter, to: ['c@d.test'] });
      assert.deepEqual([at, outcomes[0].fate, outcomes[0].cause, sink.messages.length], [at, fate, 'lost', kept]);
    }
    sink.drop('*', { at: 'connect', times: 1 });
    await assert.rejects(connected(sink), { fault: 'network' });
  });
});

test('delays come before the answer, and add up with it', async () => {
  await using_(createTestSink(), async (sink) => {
    sink.delay('c@d.test', 150).refuse('c@d.test', { code: 450, text: 'Slow' });
    const client = await connected(sink);
    const begun = performance.now();
    const { outcomes } = await client.send(letter);
    assert.ok(performance.now() - begun > 140);
    assert.deepEqual(outcomes.map(({ fate }) => fate), ['temporary', 'accepted']);
    await client.quit();
  });
});

test('what is kept is bounded', async () => {
  await using_(createTestSink({ keep: 1 }), async (sink) => {
    const client = await connected(sink);
    assert.equal((await client.send(letter)).accepted.length, 2);
    assert.deepEqual((await client.send(letter)).outcomes.map(({ reply }) => reply.code), [452, 452]);
    await client.quit();
  });
});

test('a rule that can not be is said to be so', async () => {
  await using_(createTestSink(), async (sink) => {
    assert.throws(() => sink.refuse('a@b.test', { code: 250 }), ValueError);
    assert.throws(() => sink.refuse('a@b.test', { code: 550 }, { at: 'dot' }), /at: expected one of connect, /);
    assert.throws(() => sink.refuse('a@b.test', { code: 550 }, { times: 0 }), /times: expected a whole number from 1, got 0/);
    assert.throws(() => sink.refuse('a@b.test', { code: 550 }, { at: 'connect' }), /no address is known yet/);
    assert.throws(() => sink.delay('a@b.test', -1), /expected milliseconds/);
    assert.throws(() => sink.drop(7), /who: expected an address/);
  });
});

/** `await using` for Node 20. */
async function using_(made, work) {
  const sink = await made;
  try {
    await work(sink);
  } finally {
    await sink.close();
  }
}
