// The section of results: headline, charts, table and the link that holds them.

import {bars} from './chart.js';
import * as here from './device.js';
import {element} from './elements.js';
import {count, milliseconds, ratio, rounded, toLink, toText} from './share.js';

const find = (id) => document.getElementById(id);

export function showResult() {
  let shown = null;
  // Asked once; the user may write a better name over it.
  const device = here.device();

  function show(files, whole) {
    find('result').hidden = false;
    find('headline').textContent = headline(files);
    find('charts').replaceChildren(
        figure('Milliseconds for one run', files, ({low, middle, high}) =>
          ({value: middle, low, high, label: `${milliseconds(middle)} ms`})),
        figure('Bytes of the file', files, ({bytes}) =>
          ({value: bytes, label: bytes.toLocaleString('en')})));
    find('table').replaceChildren(...table(files));
    for (const id of ['copy', 'share', 'device']) find(id).disabled = !whole;
    find('copied').textContent = '';
  }

  function complete(result, own) {
    shown = result;
    show(result.files, true);
    find('device').value = result.device;
    find('device').readOnly = !own;
    find('browser').textContent = `${result.browser}, ${count(result.threads, 'thread')}`;
    find('shared').hidden = own;
    find('shared').textContent = own ? '' :
        `Shared by link: measured on ${result.device}, ${result.browser}, ${result.date}.`;
    find('method').textContent = 'Median of one run, and its quartiles, on a warm processor; ' +
        'the files take turns of about 50 ms. Random input.';
  }

  function current() {
    return {...shown, device: find('device').value.trim().slice(0, 100) || 'unknown device'};
  }

  async function copy() {
    const link = toLink(current(), location.href);
    const text = `${toText(current())}\n${link}`;
    history.replaceState(null, '', link);
    try {
      await navigator.clipboard.writeText(text);
      find('copied').textContent = 'Copied: the numbers and the link.';
    } catch {
      // Over plain HTTP a page cannot write to the clipboard.
      find('copied').textContent = 'The link stands in the address bar now.';
    }
  }

  async function share() {
    const text = toText(current());
    await navigator.share({text, url: toLink(current(), location.href)}).catch(() => {});
  }

  find('copy').addEventListener('click', copy);
  find('share').addEventListener('click', share);
  find('share').hidden = !navigator.share;

  return {
    /** While it is measured: `times` has the turns so far of each file. */
    progress(files, times) {
      show(withQuartiles(files, times), false);
    },
    async done(files, times, threads) {
      complete({
        device: await device,
        browser: here.browser(),
        threads,
        date: new Date().toISOString().slice(0, 10),
        files: withQuartiles(files, times),
      }, true);
    },
    shared(result) {
      complete(result, false);
    },
  };
}

function withQuartiles(files, times) {
  return files.map(({name, bytes}, i) => {
    const sorted = [...times[i]].sort((a, b) => a - b);
    // As many digits as a link holds, so that both show the same.
    const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => rounded(quantile(sorted, part)));
    return {name, bytes, low, middle, high};
  });
}

function quantile(sorted, part) {
  const at = part * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

function headline([first, ...others]) {
  if (!others.length) return `${first.name} takes ${milliseconds(first.middle)} ms`;
  const best = others.reduce((a, b) => a.middle <= b.middle ? a : b);
  const speed = first.middle / best.middle;
  if (speed >= 1.03) return `${best.name} is ${ratio(speed)} as fast as ${first.name}`;
  if (speed <= 0.97) return `${best.name} takes ${ratio(1 / speed)} as long as ${first.name}`;
  return `${best.name} takes as long as ${first.name}`;
}

function figure(title, files, row) {
  return element('figure', {}, element('figcaption', {}, title),
      bars(title, files.map((file) => ({name: file.name, ...row(file)}))));
}

function table(files) {
  const [first] = files;
  const heads = ['file', 'ms', 'times as fast', 'bytes', 'times as small', 'ms, quartiles'];
  return [
    element('thead', {}, element('tr', {},
        ...heads.map((head) => element('th', {scope: 'col'}, head)))),
    element('tbody', {}, ...files.map(({name, bytes, low, middle, high}) => element('tr', {},
        ...[
          name, milliseconds(middle), ratio(first.middle / middle), bytes.toLocaleString('en'),
          ratio(first.bytes / bytes), `${milliseconds(low)} to ${milliseconds(high)}`,
        ].map((cell) => element('td', {}, cell))))),
  ];
}
