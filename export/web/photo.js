// A photo becomes the input of a model as in training, and its output what is shown. The same
// numbers as Preprocessing.kt of the Android app, tested on the same vectors.json.

/**
 * The photo resized, cropped centrally and normalized.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} photo RGBA, as ImageData.
 * @param {Object} spec height, width and channels of the input; mean and std per channel, of
 *     pixels 0 to 255; short_side that the photo is resized to before the crop, or null: it is
 *     resized straight to the input's size.
 * @returns {Float32Array} (height, width, channels).
 */
export function toInput(photo, spec) {
  const [height, width] = resizedSize(photo.height, photo.width, spec);
  const rows = taps(photo.height, height, Math.floor((height - spec.height) / 2), spec.height);
  const columns = taps(photo.width, width, Math.floor((width - spec.width) / 2), spec.width);
  const rgb = resample(photo.data, photo.width, 4, 3, rows, columns);
  const input = new Float32Array(spec.height * spec.width * spec.channels);
  for (let i = 0; i < spec.height * spec.width; i++) {
    const [red, green, blue] = [rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]];
    const values =
        spec.channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    values.forEach((value, c) => {
      input[i * spec.channels + c] = (value - spec.mean[c]) / spec.std[c];
    });
  }
  return input;
}

function resizedSize(height, width, spec) {
  if (spec.short_side === null) return [spec.height, spec.width];
  const short = Math.min(height, width);
  const scaled = (side) => Math.floor((2 * side * spec.short_side + short) / (2 * short));
  return [scaled(height), scaled(width)];
}

// Weights of the pixels that one pixel of the result is the mean of. When shrinking, the triangle
// is as wide as the shrinking asks for, as tf.image.resize with antialias has it.
function taps(source, resized, from, count) {
  const scale = source / resized;
  const reach = Math.max(scale, 1);
  return Array.from({length: count}, (_, i) => {
    const center = (from + i + 0.5) * scale;
    const first = Math.max(Math.ceil(center - reach - 0.5), 0);
    const last = Math.min(Math.floor(center + reach - 0.5), source - 1);
    const weights = Array.from(
        {length: last - first + 1}, (_, j) => 1 - Math.abs(first + j + 0.5 - center) / reach);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {first, weights: weights.map((weight) => weight / sum)};
  });
}

// The first `kept` of `channels` values per pixel, at rows and columns that `taps` made.
function resample(values, width, channels, kept, rows, columns) {
  const top = rows[0].first;
  const {first, weights} = rows.at(-1);
  const bottom = first + weights.length;
  const across = new Float32Array((bottom - top) * columns.length * kept);
  let at = 0;
  for (let y = top; y < bottom; y++) {
    for (const tap of columns) {
      for (let c = 0; c < kept; c++) {
        let sum = 0;
        for (let j = 0; j < tap.weights.length; j++) {
          sum += tap.weights[j] * values[(y * width + tap.first + j) * channels + c];
        }
        across[at++] = sum;
      }
    }
  }
  const line = columns.length * kept;
  const result = new Float32Array(rows.length * line);
  rows.forEach((tap, y) => {
    for (let x = 0; x < line; x++) {
      let sum = 0;
      for (let j = 0; j < tap.weights.length; j++) {
        sum += tap.weights[j] * across[(tap.first - top + j) * line + x];
      }
      result[y * line + x] = sum;
    }
  });
  return result;
}

/**
 * What is done to the input of a net that restores images, so that it has something to restore.
 *
 * @param {Float32Array} input (height, width, channels), of values 0 to 1.
 * @param {Object} spec see `toInput`.
 * @param {string} how 'none', 'noise' (normal, deviation 25 of 255, as denoising nets are measured
 *     on), or 'small' (shrunk to half the size and enlarged again).
 */
export function worsened(input, {height, width, channels}, how) {
  if (how === 'noise') {
    const draw = normal(1);
    return input.map((value) => value + 25 / 255 * draw());
  }
  if (how === 'small') {
    const half = (size) => Math.ceil(size / 2);
    const resized = (values, h, w, toH, toW) =>
        resample(values, w, channels, channels, taps(h, toH, 0, toH), taps(w, toW, 0, toW));
    const small = resized(input, height, width, half(height), half(width));
    return resized(small, half(height), half(width), height, width);
  }
  return input;
}

/** A function that draws normally distributed numbers, the same ones for the same seed. */
export function normal(seed) {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 1) / 4294967297;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** RGBA pixels of values 0 to 1, (height, width, channels) with one channel or three. */
export function toPixels(values, channels) {
  const count = values.length / channels;
  const pixels = new Uint8ClampedArray(4 * count).fill(255);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = 255 * values[i * channels + c % channels];
  }
  return pixels;
}

export function softmax(logits) {
  // The largest logit is subtracted, or exp overflows.
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** Indices of the largest values, largest first; of equal ones the first. */
export function largest(values, count) {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a]).slice(0, count);
}
