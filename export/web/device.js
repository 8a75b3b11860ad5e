// What this device and browser call themselves.

import {count} from './share.js';

const BROWSERS = [
  // The first that fits: each names those after it too.
  ['Edge', /Edg(?:A|iOS)?\/(\d+)/], ['Opera', /OPR\/(\d+)/],
  ['Samsung Internet', /SamsungBrowser\/(\d+)/],
  ['Firefox', /(?:Firefox|FxiOS)\/(\d+)/], ['Chrome', /(?:Chrome|CriOS)\/(\d+)/],
  ['Safari', /Version\/(\d+(?:\.\d+)?).*Safari/],
];

export function browser() {
  for (const [name, pattern] of BROWSERS) {
    const found = navigator.userAgent.match(pattern);
    if (found) return `${name} ${found[1]}`;
  }
  return 'unknown browser';
}

/** The model of a phone where the browser tells it, or the system; with the number of cores. */
export async function device() {
  // Over plain HTTP there is no such data.
  const hints = await navigator.userAgentData
      ?.getHighEntropyValues(['model', 'platform', 'architecture']).catch(() => null);
  const cores = navigator.hardwareConcurrency;
  const name = hints?.model || model() || [hints?.platform, hints?.architecture].join(' ').trim() ||
      system();
  return cores ? `${name}, ${count(cores, 'core')}` : name;
}

function model() {
  const found = navigator.userAgent.match(/Android [^;)]*; ([^;)]+?)(?: Build\/[^)]*)?\)/)?.[1];
  // What browsers say in place of the model today.
  return found && found !== 'K' && !/^(Mobile|Tablet|rv:)/.test(found) ? found : '';
}

function system() {
  const systems = [
    ['iPhone', /iPhone/], ['iPad', /iPad/], ['Android', /Android/], ['Mac', /Macintosh/],
    ['Windows', /Windows/], ['ChromeOS', /CrOS/], ['Linux', /Linux/],
  ];
  return systems.find(([, pattern]) => pattern.test(navigator.userAgent))?.[0] ?? 'unknown device';
}
