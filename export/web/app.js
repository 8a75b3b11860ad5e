// The page: files come in, are timed in turn, and run on photos.

import {element} from './elements.js';
import {showPicture} from './picture.js';
import {showResult} from './result.js';
import {BrokenError, Runtime} from './runtime.js';
import {fromHash} from './share.js';
import {metadata, parse, photoUse} from './tflite.js';

const find = (id) => document.getElementById(id);
// What runs: key, name, bytes, the content for LiteRT, and what a photo is to it.
let files = [];
// Why the others do not, a line each.
let refusals = [];
let runtime = null;
let lastKey = 0;

// One thing at a time: LiteRT runs in one worker, and a measurement wants it alone.
let queue = Promise.resolve();
let waiting = 0;

function exclusive(work) {
  waiting++;
  const done = between(work).finally(() => {
    waiting--;
    refresh();
  });
  refresh();
  return done;
}

// The same for what is short and comes often, the camera's frames: the page is not busy meanwhile.
function between(work) {
  queue = queue.then(work).catch((error) => say(error.message));
  return queue;
}

function say(text) {
  find('status').textContent = text;
}

async function ready() {
  if (runtime === null) {
    try {
      runtime = await Runtime.start(Number(find('threads').value) || 1);
    } catch (error) {
      throw new Error(`LiteRT.js cannot be loaded here: ${error.message}`);
    }
  }
  return runtime;
}

async function restart() {
  runtime?.stop();
  runtime = null;
  for (const {key, content} of files) await (await ready()).call('open', {key, content});
}

// A task of the worker. After a crash there is a new worker, with the same files.
async function call(task, data, onProgress) {
  const running = await ready();
  try {
    return await running.call(task, data, onProgress);
  } catch (error) {
    if (error instanceof BrokenError) await restart();
    throw error;
  }
}

async function add(name, read) {
  say(`Loading ${name} …`);
  try {
    const whole = await read();
    const {content, inputs, outputs} = parse(whole, name);
    await ready();
    const key = ++lastKey;
    try {
      await call('open', {key, content});
    } catch (error) {
      throw new Error(/Failed to load model/.test(error.message) || error instanceof BrokenError ?
          `${name} is damaged: LiteRT cannot read it.` :
          `LiteRT cannot run ${name}: ${error.message}`);
    }
    const use = photoUse({inputs, outputs}, await metadata(whole));
    files.push({key, name, bytes: whole.byteLength, content, inputs, outputs, use});
  } catch (error) {
    refusals.push(error.message);
  }
  say('');
  refresh();
}

async function fetched(url, name) {
  const response = await fetch(url).catch(() => null);
  if (response === null) throw new Error(`${name} cannot be fetched: the server is out of reach.`);
  if (!response.ok) throw new Error(`${name} is missing: the server has it no more.`);
  return response.arrayBuffer();
}

function addChosen(chosen) {
  refusals = [];
  for (const file of chosen) {
    if (file.type.startsWith('image/')) {
      picture.photo(file);
    } else {
      exclusive(() => add(file.name, () => file.arrayBuffer().catch(() => {
        throw new Error(`${file.name} cannot be read.`);
      })));
    }
  }
}

function remove(key) {
  files = files.filter((file) => file.key !== key);
  exclusive(async () => runtime?.call('close', {key}));
}

async function measure() {
  refusals = [];
  picture.stop();
  const measured = [...files];
  say('Warming up …');
  const times = await call('measure', {keys: measured.map(({key}) => key)}, (progress) => {
    say(`Turn ${progress.turn} of ${progress.turns}`);
    result.progress(measured, progress.times);
  });
  say('');
  await result.done(measured, times, Number(find('threads').value) || 1);
}

function refresh() {
  const busy = waiting > 0;
  find('list').replaceChildren(
      ...files.map((file) => element('li', {},
          element('div', {}, element('b', {}, file.name), element('small', {}, about(file))),
          element('button', {
            'aria-label': `Remove ${file.name}`, disabled: busy, click: () => remove(file.key),
          }, '✕'))),
      ...refusals.map((line) => element('li', {class: 'wrong', role: 'alert'}, line)));
  find('measure').disabled = busy || files.length === 0;
  find('threads').disabled = busy;
  document.body.toggleAttribute('data-busy', busy);
  picture.refresh();
}

function about({bytes, inputs, outputs, use}) {
  const size = (tensors) => tensors.map(({shape}) => shape.slice(1).join('×')).join(', ');
  const classes = use?.labels ? ' classes' : '';
  return `${bytes.toLocaleString('en')} bytes, ${size(inputs)} → ${size(outputs)}${classes}`;
}

function offerThreads() {
  // Without isolation a page has no shared memory, and LiteRT no threads.
  const most = Math.min(navigator.hardwareConcurrency ?? 1, 8);
  const counts = [1, 2, 4, 8].filter((threads) => threads <= most);
  find('threads').append(...counts.map((threads) => element('option', {}, threads)));
  find('threads-label').hidden = !self.crossOriginIsolated || counts.length < 2;
  find('threads').addEventListener('change', () => exclusive(async () => {
    try {
      await restart();
    } catch (error) {
      find('threads').value = 1;
      await restart();
      throw error;
    }
  }));
}

async function keepForOffline() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register('offline.js');
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller) {
      await new Promise((resolve) =>
          navigator.serviceWorker.addEventListener('controllerchange', resolve, {once: true}));
    }
    find('offline').textContent = 'Works offline from now on.';
  } catch {
    // Storage is switched off, or a certificate is not trusted: the page works all the same.
  }
}

function takeDrops() {
  const over = (is) => (event) => {
    event.preventDefault();
    document.body.classList.toggle('over', is);
  };
  addEventListener('dragover', over(true));
  addEventListener('dragleave', over(false));
  addEventListener('drop', (event) => {
    over(false)(event);
    addChosen(event.dataTransfer.files);
  });
  find('choose').addEventListener('change', ({target}) => {
    addChosen([...target.files]);
    // The same file can be chosen again.
    target.value = '';
  });
}

async function openServed() {
  const response = await fetch('files.json').catch(() => null);
  // The page without a server of ours has none: files are dropped in.
  const served = response?.ok ? await response.json() : [];
  for (const {name, url} of served) exclusive(() => add(name, () => fetched(url, name)));
}

function showShared() {
  try {
    const shared = fromHash(location.hash);
    if (shared !== null) result.shared(shared);
  } catch (error) {
    say(error.message);
  }
}

const result = showResult();
const picture = showPicture({
  files: () => files.filter(({use}) => use !== null),
  run: ({key, use}, pixels, worsen) =>
      call('picture', {key, pixels, spec: use.spec, worsen}),
  exclusive,
  between,
});
offerThreads();
takeDrops();
find('measure').addEventListener('click', () => exclusive(measure));
addEventListener('hashchange', showShared);
showShared();
// What the worker loads is kept only if the service worker is there first; it may not come.
const patience = new Promise((resolve) => setTimeout(resolve, 3000));
Promise.race([keepForOffline(), patience]).then(openServed);
