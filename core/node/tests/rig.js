// What the tests share: a certificate, raw conversations over a socket, programs that may not be installed.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that is gone after the tests of the file. */
export const folder = mkdtempSync(join(tmpdir(), 'hermetic-node-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** The path of a program; without it the test is skipped, and in CI it fails. */
export function program(t, name) {
  const path = (process.env.PATH ?? '').split(':').map((place) => join(place, name)).find(existsSync);
  if (path) return path;
  if (process.env.CI) assert.fail(`${name} is not installed: run tests/clients/install.sh`);
  t.skip(`${name} is not installed`);
  return undefined;
}

let made;
/** Key and certificate for localhost and 127.0.0.1, of an authority of our own. */
export function certificate(t) {
  if (made) return made;
  const openssl = program(t, 'openssl');
  if (!openssl) return undefined;
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  execFileSync(openssl, ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', key, '-out', cert, ...subject], { stdio: 'pipe' });
  made = { key: readFileSync(key), cert: readFileSync(cert), ca: readFileSync(cert), file: cert };
  return made;
}

/** Runs a program to its end. Resolves with its exit code and what it said. */
export function run(file, args, { input = '', env = {} } = {}) {
  return new Promise((resolve) => {
    const child = execFile(file, args, { env: { ...process.env, ...env }, timeout: 60_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** A conversation octet by octet. */
export class Talk {
  constructor(socket) {
    this.socket = socket;
    this.text = '';
    this.ended = false;
    socket.on('data', (octets) => {
      this.text += octets.toString('latin1');
      this.onChange?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
      this.onChange?.();
    });
  }

  static async to(port) {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new Talk(socket);
  }

  say(text) {
    this.socket.write(Buffer.from(text, 'latin1'));
  }

  /** Waits until the pattern fits what was said since the last time; returns that. */
  async hear(pattern, timeout = 10_000) {
    const end = Date.now() + timeout;
    for (;;) {
      const found = pattern.exec(this.text);
      if (found) {
        const heard = this.text.slice(0, found.index + found[0].length);
        this.text = this.text.slice(heard.length);
        return heard;
      }
      if (this.ended) assert.fail(`the connection ended; expected ${pattern}, heard ${JSON.stringify(this.text)}`);
      await this.#change(end, `expected ${pattern}, heard ${JSON.stringify(this.text)}`);
    }
  }

  /** Waits until the peer closes; returns what it said since the last time. */
  async end(timeout = 10_000) {
    const end = Date.now() + timeout;
    while (!this.ended) await this.#change(end, `the connection did not end; heard ${JSON.stringify(this.text)}`);
    return this.text;
  }

  async #change(end, what) {
    const left = end - Date.now();
    if (left <= 0) assert.fail(what);
    let timer;
    await new Promise((resolve) => {
      this.onChange = resolve;
      timer = setTimeout(resolve, left);
    });
    clearTimeout(timer);
  }
}

/** A server that gathers messages; it is closed when the test is over. */
export async function gathering(t, createServer, options = {}, handlers = {}) {
  const messages = [];
  const closed = [];
  const server = createServer(options, {
    async onMessage(message, session) {
      messages.push({ from: message.sender.address, to: message.recipients.map(String), content: await message.bytes(), secure: session.secure, login: session.login });
    },
    onClose: (session, error) => closed.push(error),
    ...handlers,
  });
  const { port } = await server.listen(0, '127.0.0.1');
  t.after(() => server.close(0));
  return { server, port, messages, closed };
}

/** Waits until a socket takes more, or has ended, or for a moment. */
export function room(socket) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, 50);
    socket.on('drain', done);
    socket.on('close', done);
  });
}

/** Waits until something is so. */
export async function until(what, condition, timeout = 10_000) {
  const end = Date.now() + timeout;
  while (!condition()) {
    if (Date.now() > end) assert.fail(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
