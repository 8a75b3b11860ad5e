// The page's end of worker.js.

/** LiteRT crashed, or did not answer: this runtime is of no more use. */
export class BrokenError extends Error {}

// A task that says nothing for so long is taken for hung. The first one loads 10 MB.
const PATIENCE_MS = 180000;

export class Runtime {
  /** @param {number} threads that LiteRT uses; more than one needs cross-origin isolation. */
  static async start(threads) {
    const runtime = new Runtime();
    await runtime.call('start', {threads});
    return runtime;
  }

  #worker = new Worker('worker.js');
  #waiting = new Map();
  #last = 0;

  constructor() {
    this.#worker.onmessage = ({data}) => this.#answer(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || 'the worker did not load');
    };
  }

  /** The result of a task of worker.js; `onProgress` gets what it tells before. */
  call(task, data = {}, onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.#last;
      this.#waiting.set(id, {resolve, reject, onProgress});
      this.#wind(id);
      this.#worker.postMessage({...data, id, task});
    });
  }

  stop() {
    this.#worker.terminate();
    this.#waiting.forEach(({timer}) => clearTimeout(timer));
  }

  #wind(id) {
    const call = this.#waiting.get(id);
    clearTimeout(call.timer);
    call.timer = setTimeout(() => this.#fail('no answer within three minutes'), PATIENCE_MS);
  }

  #answer({id, result, error, broken, progress}) {
    const call = this.#waiting.get(id);
    if (call === undefined) return;
    if (progress !== undefined) {
      this.#wind(id);
      call.onProgress(progress);
      return;
    }
    clearTimeout(call.timer);
    this.#waiting.delete(id);
    if (broken) {
      this.stop();
      call.reject(new BrokenError(error));
    } else if (error !== undefined) {
      call.reject(new Error(error));
    } else {
      call.resolve(result);
    }
  }

  #fail(reason) {
    this.stop();
    this.#waiting.forEach(({reject}) => reject(new BrokenError(reason)));
    this.#waiting.clear();
  }
}
