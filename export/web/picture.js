// The section of photos: a photo or the camera through each file that takes images.

import {element} from './elements.js';
import {largest, softmax, toPixels} from './photo.js';
import {milliseconds} from './share.js';

const find = (id) => document.getElementById(id);
// Safari has no canvas of more than 16 million pixels.
const MOST_PIXELS = 12e6;
const FRAME_PIXELS = 640 * 480;
const GUESSES = 3;

/**
 * @param {Object} page files: a function that lists those for photos; run: runs one of them on
 *     pixels; exclusive: does one thing at a time; between: does so without a word.
 */
export function showPicture({files, run, exclusive, between}) {
  const cards = new Map();
  let bitmap = null;
  let stream = null;

  const say = (text) => find('photo-status').textContent = text;

  function refresh() {
    const usable = files();
    find('picture').hidden = usable.length === 0;
    find('worsen-label').hidden = !usable.some(({use}) => use.kind === 'images');
    for (const [key, card] of cards) {
      if (!usable.some((file) => file.key === key)) {
        card.root.remove();
        cards.delete(key);
      }
    }
    if (usable.length === 0) stop();
  }

  // Each file on what `source` shows: a bitmap or the video.
  async function through(source, width, height, most) {
    const worsen = find('worsen').value;
    for (const file of files()) {
      const pixels = pixelsOf(source, width, height, file.use, most);
      const outcome = await run(file, pixels, worsen);
      if (!cards.has(file.key)) {
        const card = (file.use.kind === 'images' ? comparison : guesses)(file);
        cards.set(file.key, card);
        find('outcomes').append(card.root);
      }
      cards.get(file.key).update(outcome);
    }
  }

  async function photo(file) {
    stop();
    let decoded;
    try {
      decoded = await createImageBitmap(file);
    } catch {
      say(`${file.name} is no picture that this browser can open.`);
      return;
    }
    say('');
    bitmap?.close();
    bitmap = decoded;
    await again();
  }

  async function again() {
    if (bitmap === null || stream !== null) return;
    preview(bitmap);
    await exclusive(() => through(bitmap, bitmap.width, bitmap.height, MOST_PIXELS));
  }

  async function start() {
    const video = find('video');
    try {
      const facing = {facingMode: 'environment', width: {ideal: 640}, height: {ideal: 480}};
      stream = await navigator.mediaDevices.getUserMedia({video: facing});
    } catch (error) {
      say(error.name === 'NotAllowedError' ? 'The camera is not allowed for this page.' :
          'There is no camera that this page can use.');
      return;
    }
    say('');
    video.srcObject = stream;
    await video.play();
    video.hidden = false;
    find('preview').hidden = true;
    find('camera').textContent = 'Stop the camera';
    while (stream !== null) {
      // Between frames the page may do other things.
      await between(() => stream === null ? null :
          through(video, video.videoWidth, video.videoHeight, FRAME_PIXELS));
      await new Promise(requestAnimationFrame);
    }
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    find('video').hidden = true;
    find('camera').textContent = 'Camera';
  }

  find('photo').addEventListener('change', ({target}) => {
    if (target.files.length) photo(target.files[0]);
    target.value = '';
  });
  find('worsen').addEventListener('change', again);
  // Over plain HTTP there is none; on a phone, choosing a photo offers its camera all the same.
  find('camera').hidden = !navigator.mediaDevices?.getUserMedia;
  find('camera').addEventListener('click', () => stream === null ? start() : stop());
  document.addEventListener('visibilitychange', () => document.hidden && stop());
  return {refresh, photo, stop};
}

function preview(bitmap) {
  const canvas = find('preview');
  const scale = Math.min(1, Math.sqrt(FRAME_PIXELS / (bitmap.width * bitmap.height)));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
}

// RGBA of a photo; of its middle, in the input's proportions, for a net that returns an image.
function pixelsOf(source, width, height, {kind, spec}, most) {
  let [w, h] = [width, height];
  if (kind === 'images') {
    const scale = Math.min(width / spec.width, height / spec.height);
    [w, h] = [spec.width * scale, spec.height * scale];
  }
  const scale = Math.min(1, Math.sqrt(most / (w * h)));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(w * scale));
  canvas.height = Math.max(1, Math.round(h * scale));
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(
      source, (width - w) / 2, (height - h) / 2, w, h, 0, 0, canvas.width, canvas.height);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {data, width: canvas.width, height: canvas.height};
}

function titled(file, ...content) {
  const time = element('small');
  const recent = [];
  return {
    root: element('article', {}, element('h3', {}, `${file.name} `, time), ...content),
    // One run may meet anything: of the camera's frames the median of the last ones is told.
    tell(took) {
      recent.push(took);
      if (recent.length > 15) recent.shift();
      const sorted = [...recent].sort((a, b) => a - b);
      const median = sorted[Math.floor(sorted.length / 2)];
      time.textContent = median > 0 ? `${milliseconds(median)} ms` : '';
    },
  };
}

function guesses(file) {
  const list = element('div');
  const {root, tell} = titled(file, list);
  return {root, update({output, milliseconds: took}) {
    tell(took);
    const probabilities = softmax(output);
    list.replaceChildren(...largest(probabilities, GUESSES).map((index) => {
      const bar = element('i');
      bar.style.width = `${100 * probabilities[index]}%`;
      return element('div', {class: 'guess'}, bar, element('span', {}, file.use.labels[index]),
          element('span', {}, `${(100 * probabilities[index]).toFixed(1)} %`));
    }));
  }};
}

// Before and after over each other, parted where the slider stands.
function comparison(file) {
  const [before, after] = [element('canvas'), element('canvas')];
  const over = element('div', {class: 'compare'}, before, after, element('hr'),
      element('b', {}, 'before'), element('b', {}, 'after'));
  const slider = element('input', {
    type: 'range', min: 0, max: 100, step: 0.5, 'aria-label': 'before to the left, after to the right',
    input: () => over.style.setProperty('--at', `${slider.value}%`),
  });
  over.style.setProperty('--at', '50%');
  const {root, tell} = titled(file, over, slider);
  const [, height, width, channels] = file.outputs[0].shape;
  return {root, update({input, output, milliseconds: took}) {
    tell(took);
    const {spec} = file.use;
    draw(before, toPixels(input, spec.channels), spec.width, spec.height);
    draw(after, toPixels(output, channels), width, height);
  }};
}

function draw(canvas, pixels, width, height) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(new ImageData(pixels, width, height), 0, 0);
}
