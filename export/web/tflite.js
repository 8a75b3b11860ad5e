// What a .tflite file says of itself: tensors, and the metadata that tf-lcnn appends (a ZIP archive,
// see tf_lcnn/lite/metadata.py and the contract in export/android/README.md).

const KINDS = {
  0: 'float32', 1: 'float16', 2: 'int32', 3: 'uint8', 4: 'int64', 5: 'string', 6: 'bool',
  7: 'int16', 9: 'int8', 10: 'float64',
};

// Fields by their place in LiteRT's schema.
const MODEL = {subgraphs: 2};
const SUBGRAPH = {tensors: 0, inputs: 1, outputs: 2};
const TENSOR = {shape: 0, type: 1, signature: 7};

/**
 * A .tflite that this page can run.
 *
 * @param {ArrayBuffer} content of the file.
 * @param {string} name of the file, for messages.
 * @returns {{content: ArrayBuffer, inputs: Array, outputs: Array}} shape and kind of inputs and
 *     outputs, and the content with all sizes fixed: LiteRT.js takes no open ones.
 * @throws {Error} one line: it is no .tflite, damaged, or has tensors that a browser does not take.
 */
export function parse(content, name) {
  const view = new DataView(content);
  if (content.byteLength < 8 || view.getUint32(4, false) !== 0x54464c33) {
    throw new Error(`${name} is no .tflite file.`);
  }
  let parsed;
  try {
    const copy = content.slice(0);
    parsed = {...tensors(new DataView(copy)), content: copy};
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Error(`${name} is damaged, or was cut short.`);
  }
  for (const [what, of] of [['input', parsed.inputs], ['output', parsed.outputs]]) {
    for (const {kind} of of) {
      if (kind !== 'float32') {
        const how = kind === 'uint8' ? 'without --input' : 'with float32 input and output';
        throw new Error(
            `${name} has an ${what} of ${kind}, which LiteRT does not run in a browser: ` +
            `export it ${how}.`);
      }
    }
  }
  return parsed;
}

// FlatBuffers: a table starts with the distance back to its vtable, where each field has its
// place in the table, or 0. Reading past the end is a RangeError.

function slot(view, table, field) {
  const vtable = table - view.getInt32(table, true);
  const at = 4 + 2 * field;
  return at < view.getUint16(vtable, true) ? vtable + at : null;
}

function place(view, table, field) {
  const at = slot(view, table, field);
  const offset = at === null ? 0 : view.getUint16(at, true);
  return offset ? table + offset : null;
}

function follow(view, at) {
  return at + view.getUint32(at, true);
}

function vector(view, table, field) {
  const at = place(view, table, field);
  if (at === null) return {start: 0, length: 0};
  const start = follow(view, at);
  const length = view.getUint32(start, true);
  if (length > view.byteLength / 4) throw new RangeError('longer than the file');
  return {start: start + 4, length};
}

function integers(view, table, field) {
  const {start, length} = vector(view, table, field);
  return Array.from({length}, (_, i) => view.getInt32(start + 4 * i, true));
}

function tables(view, table, field) {
  const {start, length} = vector(view, table, field);
  return Array.from({length}, (_, i) => follow(view, start + 4 * i));
}

function tensors(view) {
  const [graph] = tables(view, follow(view, 0), MODEL.subgraphs);
  if (graph === undefined) throw new RangeError('no graph');
  const all = tables(view, graph, SUBGRAPH.tensors);
  const described = (field) => integers(view, graph, field).map((index) => {
    if (all[index] === undefined) throw new RangeError('no such tensor');
    const kind = place(view, all[index], TENSOR.type);
    return {
      shape: integers(view, all[index], TENSOR.shape),
      kind: KINDS[kind === null ? 0 : view.getUint8(kind)] ?? 'another kind',
    };
  });
  const [inputs, outputs] = [described(SUBGRAPH.inputs), described(SUBGRAPH.outputs)];
  if (!inputs.length || !outputs.length) throw new RangeError('no input, or no output');
  for (const tensor of all) {
    // Without its signature a tensor has the size that the file has at first.
    if (integers(view, tensor, TENSOR.signature).some((size) => size < 0)) {
      view.setUint16(slot(view, tensor, TENSOR.signature), 0, true);
    }
  }
  return {inputs, outputs};
}

/**
 * The metadata of a file, or null where it has none.
 *
 * @param {ArrayBuffer} content of the file.
 * @returns {Promise<?Object>} tf_lcnn.json, with `labels` where the file has them.
 */
export async function metadata(content) {
  try {
    const members = directory(content);
    const description = JSON.parse(await text(content, members.get('tf_lcnn.json')));
    if (members.has('labels.txt')) {
      const labels = await text(content, members.get('labels.txt'));
      description.labels = labels.replace(/\n$/, '').split('\n').map((x) => x.replace(/\r$/, ''));
    }
    return description;
  } catch {
    return null;
  }
}

// Name -> entry of the ZIP archive at the end of the file.
function directory(content) {
  const view = new DataView(content);
  const least = Math.max(0, content.byteLength - 22 - 65535);
  let end = content.byteLength - 22;
  while (end >= least && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < least) throw new Error('no archive');
  const size = view.getUint32(end + 12, true);
  const stated = view.getUint32(end + 16, true);
  // Offsets may count from the start of the file, or of the archive in it.
  const shift = end - size - stated;
  const members = new Map();
  let at = stated + shift;
  for (let i = view.getUint16(end + 10, true); i > 0; i--) {
    const [named, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    members.set(new TextDecoder().decode(new Uint8Array(content, at + 46, named)), {
      deflated: view.getUint16(at + 10, true) === 8,
      size: view.getUint32(at + 20, true),
      at: view.getUint32(at + 42, true) + shift,
    });
    at += 46 + named + extra + comment;
  }
  return members;
}

async function text(content, {deflated, size, at}) {
  const view = new DataView(content);
  const start = at + 30 + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
  let stream = new Blob([new Uint8Array(content, start, size)]).stream();
  if (deflated) stream = stream.pipeThrough(new DecompressionStream('deflate-raw'));
  return new Response(stream).text();
}

/**
 * How a photo becomes the input of a file, and what its output is.
 *
 * @param {{inputs: Array, outputs: Array}} parsed see `parse`.
 * @param {?Object} described see `metadata`.
 * @returns {?{kind: string, spec: Object, labels: ?string[]}} kind is 'classifier' or 'images';
 *     null where a photo says nothing to the file.
 */
export function photoUse({inputs, outputs}, described) {
  if (inputs.length !== 1 || outputs.length !== 1) return null;
  const [, height, width, channels] = inputs[0].shape;
  const output = outputs[0].shape;
  if (inputs[0].shape.length !== 4 || ![1, 3].includes(channels)) return null;
  const size = {height, width, channels};
  if (output.length === 4 && [1, 3].includes(output[3])) {
    const each = (value) => Array(channels).fill(value);
    return {kind: 'images', spec: {...size, mean: each(0), std: each(255), short_side: null}};
  }
  const {format, output: what, input: spec, labels, frame} = described ?? {};
  const fits = format === 1 && frame === undefined && what === 'logits' && output.length === 2 && spec &&
      Object.keys(size).every((key) => spec[key] === size[key]) &&
      [spec.mean, spec.std].every((of) => of?.length === channels && of.every(Number.isFinite)) &&
      spec.std.every((value) => value > 0) && labels?.length === output[1] &&
      (spec.short_side === null || spec.short_side >= Math.max(height, width));
  return fits ? {kind: 'classifier', spec, labels} : null;
}
