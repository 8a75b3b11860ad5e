// Runs files with LiteRT.js, away from the page, so that the page stays alive meanwhile.
// A classic worker: LiteRT.js loads its builds by importScripts, which module workers lack.
//
// Takes {id, task, ...} and answers {id, result} or {id, error, broken}; `broken` says that LiteRT
// crashed and this worker is of no more use. A long task posts {id, progress} before.

// A batch of runs takes about so long: some browsers' clock has steps of a millisecond.
const BATCH_MS = 50;
// Each file is run for so many batches, the files in turn.
const TURNS = 21;

let liteRt, photo, options;
const models = new Map();
const TASKS = {start, open, close, run, picture, measure};

self.onmessage = async ({data}) => {
  const {id, task} = data;
  try {
    const result = await TASKS[task](data, (progress) => self.postMessage({id, progress}));
    self.postMessage({id, result});
  } catch (error) {
    // C++ exceptions come as numbers or objects of Emscripten, and leave LiteRT in no good state.
    const broken = !(error instanceof Error) || error instanceof WebAssembly.RuntimeError;
    self.postMessage({id, error: String(error?.message ?? error).split('\n')[0], broken});
  }
};

async function start({threads}) {
  [liteRt, photo] = await Promise.all([import('./litert/index.js'), import('./photo.js')]);
  // A CPU is what is measured: without this, a GPU would be taken where there is one.
  options = {accelerator: 'wasm', cpuOptions: {numThreads: threads}};
  await liteRt.loadLiteRt(new URL('litert/', self.location.href).href, {threads: threads > 1});
}

// Loads a file and runs it once: what cannot run is to be told now.
async function open({key, content}) {
  const model = await liteRt.loadAndCompile(new Uint8Array(content), options);
  const tensors = randomInputs(model);
  try {
    await once(model, tensors);
  } catch (error) {
    model.delete();
    throw error;
  } finally {
    free(tensors);
  }
  models.set(key, model);
}

function close({key}) {
  models.get(key)?.delete();
  models.delete(key);
}

// One run on values of the caller's: output and milliseconds.
async function run({key, input}) {
  const model = models.get(key);
  const tensor = new liteRt.Tensor(input, model.getInputDetails()[0].shape);
  const begin = performance.now();
  const outputs = await model.run([tensor]);
  const milliseconds = performance.now() - begin;
  // A copy: the memory is freed here.
  const output = Float32Array.from(outputs[0].toTypedArray());
  free([tensor, ...outputs]);
  return {output, milliseconds};
}

// One run on a photo; `input` is what the net saw.
async function picture({key, pixels, spec, worsen}) {
  const input = photo.worsened(photo.toInput(pixels, spec), spec, worsen);
  return {input, ...await run({key, input})};
}

// Milliseconds of one run of each file, a list with one median-to-be per turn.
async function measure({keys}, progress) {
  const files = keys.map((key) => ({model: models.get(key), times: []}));
  for (const file of files) {
    file.tensors = randomInputs(file.model);
    file.batch = await batchOf(file);
  }
  for (let turn = 1; turn <= TURNS; turn++) {
    for (const {model, tensors, batch, times} of files) {
      // The files before took the caches: the first run of a turn is not counted.
      await once(model, tensors);
      times.push(await milliseconds(model, tensors, batch) / batch);
    }
    progress({turn, turns: TURNS, times: files.map(({times}) => times)});
  }
  files.forEach(({tensors}) => free(tensors));
  return files.map(({times}) => times);
}

// How many runs fill a batch.
async function batchOf({model, tensors}) {
  let runs = 1;
  let took = await milliseconds(model, tensors, runs);
  while (took < BATCH_MS / 2 && runs < 10000) {
    runs *= took > 1 ? Math.ceil(BATCH_MS / took) : 8;
    took = await milliseconds(model, tensors, runs);
  }
  return Math.max(1, Math.round(runs * BATCH_MS / took));
}

async function milliseconds(model, tensors, runs) {
  const begin = performance.now();
  for (let i = 0; i < runs; i++) await once(model, tensors);
  return performance.now() - begin;
}

async function once(model, tensors) {
  free(await model.run(tensors));
}

function free(tensors) {
  tensors.forEach((tensor) => tensor.delete());
}

// Normally distributed: arithmetic on denormal numbers, which may stand in fresh memory, is many
// times slower.
function randomInputs(model) {
  const draw = photo.normal(1);
  return model.getInputDetails().map(({shape}) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return new liteRt.Tensor(Float32Array.from({length: count}, draw), shape);
  });
}
