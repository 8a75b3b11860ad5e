// Bars of files below each other, the first of them the one that others are compared with.

import {svg} from './elements.js';

const LINE = 46;
const BAR = 16;
const WIDTH = 320;
// Room for the number behind the longest bar.
const LABEL = 76;

/**
 * @param {string} title of the chart, with the unit.
 * @param {Array} rows name, value and label of each; low and high where the value has a spread.
 */
export function bars(title, rows) {
  // The bars stay long enough to compare where a busy machine spread the times wide.
  const longest = Math.max(...rows.map(({value}) => value));
  const most = Math.min(1.5 * longest, Math.max(...rows.map(({value, high}) => high ?? value)));
  const length = (value) => Math.max(2, Math.min(value, most) / most * (WIDTH - LABEL));
  const chart = svg('svg', {
    viewBox: `0 0 ${WIDTH} ${rows.length * LINE}`,
    role: 'img',
    'aria-label': `${title}: ${rows.map(({name, label}) => `${name} ${label}`).join(', ')}`,
  });
  rows.forEach(({name, value, label, low, high}, i) => {
    const y = i * LINE;
    const end = length(value);
    chart.append(
        svg('text', {x: 0, y: y + 13, class: 'name'}, shortened(name)),
        svg('rect', {x: 0, y: y + 20, width: end, height: BAR, rx: 3, class: i ? 'bar' : 'bar first'}));
    if (high > low) {
      const middle = y + 20 + BAR / 2;
      const [from, to] = [length(low), length(high)];
      chart.append(svg('path', {
        class: 'spread',
        d: `M${from} ${middle}H${to}M${from} ${middle - 4}v8M${to} ${middle - 4}v8`,
      }));
    }
    const behind = length(Math.max(value, high ?? value));
    chart.append(svg('text', {x: behind + 6, y: y + 33, class: 'value'}, label));
  });
  return chart;
}

// The end of a path says more than its start.
function shortened(name, most = 44) {
  return name.length <= most ? name : `…${name.slice(1 - most)}`;
}
