// Results as a link: the numbers stand in the part of the address after #, which a browser sends
// to no server.

const FORMAT = 1;
const MOST_FILES = 50;

/**
 * @param {Object} result device, browser, threads, date and files: name, bytes and milliseconds
 *     (low, middle, high) of each.
 * @param {string} base address of the page.
 */
export function toLink({device, browser, threads, date, files}, base) {
  const rows = files.map(({name, bytes, low, middle, high}) =>
      [name, bytes, ...[low, middle, high].map(rounded)]);
  const bytes = new TextEncoder().encode(
      JSON.stringify([FORMAT, device, browser, threads, date, rows]));
  const text = btoa(String.fromCharCode(...bytes));
  const link = new URL(base);
  link.search = '';
  link.hash = `r=${text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
  return link.href;
}

/**
 * The result in the # part of an address; null where there is none.
 *
 * @throws {Error} one line: there is one, and it is damaged.
 */
export function fromHash(hash) {
  if (!hash.startsWith('#r=')) return null;
  try {
    const text = atob(hash.slice(3).replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const [format, device, browser, threads, date, rows] =
        JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(bytes));
    const files = rows.map(([name, size, low, middle, high]) =>
        ({name, bytes: size, low, middle, high}));
    const texts = [device, browser, date, ...files.map(({name}) => name)];
    const numbers = files.flatMap(({bytes, low, middle, high}) => [bytes, low, middle, high]);
    const fits = format === FORMAT && files.length > 0 && files.length <= MOST_FILES &&
        texts.every((value) => typeof value === 'string' && value.length <= 200) &&
        [threads, ...numbers].every((value) => Number.isFinite(value) && value > 0);
    if (!fits) throw new Error('other content');
    return {device, browser, threads, date, files};
  } catch {
    throw new Error('This link is damaged: its numbers cannot be read.');
  }
}

/** Results as lines of text, for a message. */
export function toText({device, browser, threads, date, files}) {
  const lines = files.map(({name, bytes, middle}, i) => {
    const speed = i ? `, ${ratio(files[0].middle / middle)} as fast` : '';
    return `${name}: ${milliseconds(middle)} ms${speed}, ${bytes.toLocaleString('en')} bytes`;
  });
  return [...lines, `${device}, ${browser}, ${count(threads, 'thread')}, ${date}`].join('\n');
}

export function rounded(milliseconds) {
  return Number(milliseconds.toPrecision(4));
}

export function milliseconds(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

export function ratio(value) {
  const digits = value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) :
      value.toPrecision(2);
  return `${digits}×`;
}

export function count(number, what) {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
