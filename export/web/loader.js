// Loads a build of LiteRT.js into a classic worker: what LiteRT.js imports under the name
// @litertjs/wasm-utils, which has no way to say where the parts of a build lie.

export async function createWasmLib(Constructor, script) {
  importScripts(script);
  const folder = script.slice(0, script.lastIndexOf('/') + 1);
  const module = await self.ModuleFactory({
    locateFile: (name) => folder + name,
    // What a build's own workers, its threads, run.
    mainScriptUrlOrBlob: script,
  });
  self.ModuleFactory = undefined;
  return new Constructor(module);
}
