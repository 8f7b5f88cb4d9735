// The playground: loads the engine, wires the tabs up, and shows what goes wrong.

import { load, witVersion } from './hermetic.js';
import { talk } from './talk.js';
import { send } from './send.js';
import { replay } from './replay.js';
import { plugin } from './plugin.js';

const status = document.getElementById('status');

function say(words, bad = false) {
  status.textContent = words;
  status.classList.toggle('bad', bad);
}

function tabs() {
  const all = [...document.querySelectorAll('[role="tab"]')];
  const choose = (tab, focus) => {
    for (const other of all) {
      const on = other === tab;
      other.setAttribute('aria-selected', String(on));
      other.tabIndex = on ? 0 : -1;
      document.getElementById(other.getAttribute('aria-controls')).hidden = !on;
    }
    say('');
    if (focus) tab.focus();
  };
  for (const [index, tab] of all.entries()) {
    tab.addEventListener('click', () => choose(tab, false));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(all[(to + all.length) % all.length], true);
    });
  }
}

// Nothing is dropped silently: what nobody expected is a bug, and the reader is told.
window.addEventListener('error', (event) => say(`This page made a mistake: ${event.message}`, true));
window.addEventListener('unhandledrejection', (event) => say(`This page made a mistake: ${event.reason?.message ?? event.reason}`, true));

try {
  await load();
  say('');
  tabs();
  send(say);
  replay();
  plugin(say);
  await talk(say);
  document.getElementById('size').textContent = `hermetic:engine ${witVersion()}`;
  document.documentElement.dataset.ready = 'yes';
} catch (error) {
  say(error.message, true);
}
