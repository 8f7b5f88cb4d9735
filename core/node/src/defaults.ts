/** The options of a session as most want them; `createServer` and `SmtpClient` begin with these. Times in milliseconds. */

import type { Client, Server } from './session.js';

const MINUTE = 60_000;

/** @param serverName the name in the greeting */
export function serverDefaults(serverName: string): Server.Options {
  const options = {
    protocol: 'smtp' as const,
    serverName,
    limits: {
      messageSize: 32n * 1024n * 1024n,
      recipients: 1000,
      recipientBatch: 100,
      commandLine: 2048,
      authLine: 12288,
      textLine: 0,
      errors: 20,
      idleCommands: 100,
      messages: 0,
      authFailures: 3,
      commandTimeout: BigInt(5 * MINUTE),
      dataTimeout: BigInt(5 * MINUTE),
      handshakeTimeout: BigInt(MINUTE),
      dataAllowance: BigInt(10 * MINUTE),
      dataRate: 1024,
      session: 0n,
      holdFor: 0,
      holdUntil: 0n,
      deliverBy: 0,
    },
    implicitTls: false,
    startTls: false,
    requireTls: false,
    plaintextMechanisms: [],
    tlsMechanisms: [],
    requireAuth: false,
    xclient: [],
    strictHello: false,
    deliverBy: false,
    priority: false,
    trace: false,
    unasked: {},
  };
  return options;
}

/** @param helloName our name, for EHLO */
export function clientDefaults(helloName: string): Client.Options {
  return {
    protocol: 'smtp',
    helloName,
    limits: {
      replyLine: 4096,
      replyLines: 256,
      replySize: 65536,
      authLine: 12288,
      replyText: 1024,
      received: 0n,
      recipients: 1000,
      pipeline: 100,
      messages: 0,
      challenges: 8,
      greetingTimeout: BigInt(5 * MINUTE),
      commandTimeout: BigInt(5 * MINUTE),
      handshakeTimeout: BigInt(MINUTE),
      mailTimeout: BigInt(5 * MINUTE),
      rcptTimeout: BigInt(5 * MINUTE),
      dataTimeout: BigInt(2 * MINUTE),
      blockTimeout: BigInt(3 * MINUTE),
      messageTimeout: BigInt(10 * MINUTE),
      quitTimeout: BigInt(MINUTE),
      idleTimeout: BigInt(5 * MINUTE),
    },
    tls: 'opportunistic',
    implicitTls: false,
    plaintextAuth: false,
    ignore: [],
    pipelining: true,
    chunking: true,
    prdr: false,
    trace: false,
  };
}
