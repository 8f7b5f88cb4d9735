// The worker in which a plugin runs: no document, no network of its own, and it is ended when it takes too long.
//
// Owns the way from a component to its verdicts: jco makes JavaScript and core modules of it, which are compiled here; then the
// hooks are called in the host's order. Fails by a message with `error`, a sentence.

import { Context } from './plugin-context.js';

/** Hooks before the content, and after it: name, once or for each recipient. */
const ENVELOPE = [['on-connection', false], ['on-sender', false], ['on-recipient', true]];
const MESSAGE = [['on-message', false], ['on-recipient-message', true]];
/** Hooks that the queue calls, not a session. */
const LATER = ['on-delivery', 'on-report'];

async function transpiled(component) {
  let jco;
  try {
    jco = await import('./jco/jco.js');
  } catch {
    throw new Error('this copy of the page has no jco, which runs components in a browser; core/js/build.sh OUT --plugins makes one that has');
  }
  await jco.$init;
  let made;
  try {
    made = jco.generate(component, { name: 'plugin', noTypescript: true, instantiation: { tag: 'async' }, noNodejsCompat: true, base64Cutoff: 0 });
  } catch (error) {
    throw new Error(`this is no component that can be run: ${error.payload ?? error.message ?? error}`.split('\n')[0]);
  }
  const files = new Map(made.files);
  const glue = made.files.find(([name]) => name.endsWith('.js'));
  const url = URL.createObjectURL(new Blob([glue[1]], { type: 'text/javascript' }));
  const { instantiate } = await import(url);
  URL.revokeObjectURL(url);
  const modules = new Map();
  const core = (name) => {
    if (!modules.has(name)) modules.set(name, WebAssembly.compile(files.get(name)));
    return modules.get(name);
  };
  return { instantiate: (imports) => instantiate(core, imports), imports: made.imports, exports: made.exports.map(([name]) => name) };
}

/** `hermetic:plugin/on-sender@0.1.0` among what an instance exports. */
function hook(instance, name) {
  const found = Object.keys(instance).find((key) => key === `hermetic:plugin/${name}` || key.startsWith(`hermetic:plugin/${name}@`));
  return found === undefined ? null : instance[found];
}

async function judged({ component, config, envelope, message, now, store }) {
  const plugin = await transpiled(component);
  const names = plugin.imports.filter((name) => !name.includes('/types'));
  const context = new Context({ envelope, message, config, now, store });
  const imports = context.imports();
  const strange = names.filter((name) => !(name in imports));
  if (strange.length > 0) throw new Error(`it wants ${strange.join(', ')}, which this page does not have`);
  postMessage({ ready: true });
  const calls = [];
  const left = new Set(envelope.to);
  let ended = false;
  // One instance for each phase, as in the host.
  for (const [phase, hooks] of [['envelope', ENVELOPE], ['message', MESSAGE]]) {
    if (ended || (phase === 'message' && left.size === 0)) break;
    const instance = await plugin.instantiate(imports);
    for (const [name, each] of hooks) {
      const face = hook(instance, name);
      if (!face || ended) continue;
      for (const recipient of each ? [...left] : [null]) {
        context.recipient = recipient;
        context.phase = name.replace('on-', '');
        const before = context.effects.length;
        const verdict = face.judge();
        calls.push({ hook: name, recipient, verdict: { tag: verdict.tag, ...verdict.val } });
        const no = verdict.tag === 'reject' || verdict.tag === 'defer';
        // A hook that does not let the recipient go on leaves nothing behind.
        if (no) context.effects.length = before;
        if (no && recipient !== null) left.delete(recipient);
        if (no && recipient === null) ended = true;
        if (!no && name === 'on-recipient') context.accepted.push(recipient);
      }
    }
    if (phase === 'envelope' && context.accepted.length === 0) context.accepted = [...left];
  }
  const headers = [...left].map((recipient) => ({ recipient, fields: (context.own.get(recipient) ?? context.shared).fields }));
  return {
    calls, headers, lines: context.lines, effects: context.effects, store: context.store,
    wants: [...new Set(names.map((name) => name.replace(/^hermetic:plugin\//, '').replace(/@.*/, '')))],
    later: LATER.filter((name) => plugin.exports.some((key) => key.includes(`/${name}`))),
  };
}

addEventListener('message', async ({ data }) => {
  try {
    postMessage({ result: await judged(data) });
  } catch (error) {
    const trapped = error instanceof WebAssembly.RuntimeError ? 'the plugin has trapped: ' : '';
    postMessage({ error: `${trapped}${error?.message ?? error}` });
  }
});
