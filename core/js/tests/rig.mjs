// What the tests share: where the site is, a server for it with the headers of `hermetic serve`, and Chromium.

import { createServer } from 'node:http';
import { existsSync, mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
/** What `core/js/build.sh` has made. */
export const site = process.env.PLAYGROUND_SITE ?? join(root, 'target/playground/site');
/** Where screenshots go. */
export const shots = join(root, 'target/playground');
mkdirSync(shots, { recursive: true });

/** Why a test cannot run on this machine; null: it can. In CI nothing is left out. */
export function missing(...paths) {
  const gone = paths.find((path) => !existsSync(path));
  if (gone === undefined) return false;
  if (process.env.CI === 'true') throw new Error(`${gone} is missing, and CI leaves nothing out`);
  return `${gone} is missing`;
}

export const browserPath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path)) ?? '/usr/bin/chromium';

const KINDS = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.wasm': 'application/wasm', '.svg': 'image/svg+xml' };

/** Serves a folder on loopback, below /playground/. Returns its address and how to stop it. */
export async function serve(folder = site) {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    if (!path.startsWith('/playground/')) return response.writeHead(404).end();
    const name = normalize(path.slice('/playground/'.length) || 'index.html');
    try {
      if (name.startsWith('..')) throw new Error('outside');
      const octets = await readFile(join(folder, name));
      const worker = name === 'plugin-worker.js';
      response.writeHead(200, {
        'content-type': KINDS[extname(name)] ?? 'application/octet-stream',
        'content-security-policy': worker
          ? "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; connect-src 'self'"
          : "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
      });
      response.end(octets);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const address = `http://127.0.0.1:${server.address().port}/playground/`;
  return { address, stop: () => { server.closeAllConnections(); return new Promise((done) => server.close(done)); } };
}

/** Chromium, headless. Root has no sandbox to give it in a container. */
export function browser() {
  return chromium.launch({ executablePath: browserPath, headless: true, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
}

/** A page that is ready; whatever it complains of is in `complaints`. */
export async function ready(context, address) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`); });
  page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
  await page.goto(address);
  await page.waitForFunction(() => document.documentElement.dataset.ready === 'yes');
  return { page, complaints };
}
