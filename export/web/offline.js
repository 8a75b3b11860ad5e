// The service worker: keeps the page and what it loaded, for use without a network.
// export/web.py fills in the two constants.

const CACHE = 'tf-lcnn-PAGE_MARK';
const PAGE = [];
// A server that does not answer within this time is taken to be out of reach.
const PATIENCE_MS = 4000;

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(['./', ...PAGE]);
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith('tf-lcnn-') && name !== CACHE) await caches.delete(name);
    }
    await self.clients.claim();
  })());
});

self.addEventListener('fetch', (event) => {
  const {request} = event;
  const inside = request.url.startsWith(self.registration.scope);
  if (request.method === 'GET' && inside) event.respondWith(answer(request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, {ignoreSearch: true});
  // The network first: another page may be served at this address now. LiteRT.js is large, and
  // changes only with CACHE.
  const path = request.url.slice(self.registration.scope.length);
  if (kept && (path.startsWith('litert/') || !navigator.onLine)) return kept;
  const fetched = fetch(request).then(async (response) => {
    if (response.ok) await cache.put(request, response.clone());
    return response;
  });
  if (!kept) return fetched;
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, kept));
  return Promise.race([fetched.catch(() => kept), late]);
}
