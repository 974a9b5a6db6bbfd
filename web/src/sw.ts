/**
 * The service worker: the page and its model without a network.
 *
 * The page's files are kept under one version, the sum of their contents, and replaced together. The model is not part
 * of that version: its description and its file are a pair of their own, replaced together too, so that what is kept for
 * when there is no network is whole at any time. Everything else passes by untouched.
 *
 * A newer model is asked for at every visit. Where one is kept, nobody waits long for the newer: the visit gets it if it
 * has arrived whole within ANSWER_MS, else the kept one, and the newer goes on arriving in the background for the next
 * visit. A browser may end that after some minutes; then the next visit asks anew. Where none is kept, the visit waits.
 */

declare const self: ServiceWorkerGlobalScope;
// Both are put in by build/plugins.ts when all files are known.
declare const LENTIGO_FILES: string[];
declare const LENTIGO_VERSION: string;

const SCOPE = new URL(self.registration.scope);
// An origin may hold several of these pages; each touches only its own caches.
const PREFIX = `lentigo ${SCOPE.pathname} `;
const PAGE = `${PREFIX}page ${LENTIGO_VERSION}`;
const MODEL = `${PREFIX}model`;
const ABOUT = new URL("model/model.json", SCOPE).href;
const ANSWER_MS = 4000; // how long a visit waits for a newer model than the kept one
const PAUSE_MS = 8000; // without any byte: in the background such a network is given up

// The page alone: a model that takes long, or never comes, does not keep the page from working offline.
self.addEventListener("install", (event) => event.waitUntil(keepPage()));

self.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([dropOldPages(), self.clients.claim()]));
});

// From a page that loaded its model without this worker, as at the first visit: main.ts.
self.addEventListener("message", (event) => {
  if (event.data === "keep the model") event.waitUntil(keepMissing());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method !== "GET" || address.origin !== SCOPE.origin || !address.pathname.startsWith(SCOPE.pathname))
    return;
  const path = address.pathname.slice(SCOPE.pathname.length);
  if (path === "" || path === "index.html") event.respondWith(kept(new URL("index.html", SCOPE).href, request));
  else if (LENTIGO_FILES.includes(path)) event.respondWith(kept(address.origin + address.pathname, request));
  else if (path === "model/model.json") event.respondWith(newestAbout(event));
  else if (path.startsWith("model/") && address.searchParams.has("sha256")) event.respondWith(model(request));
});

async function keepPage(): Promise<void> {
  const cache = await caches.open(PAGE);
  // Names hold a sum of their file's content, but for a few; those must not come from an older visit.
  const requests = LENTIGO_FILES.map(
    (path) => new Request(new URL(path, SCOPE), { cache: path.startsWith("assets/") ? "default" : "no-cache" }),
  );
  await cache.addAll(requests);
}

/** Without a model the page works offline all the same, and says so when it asks for the model. */
async function keepMissing(): Promise<void> {
  if (!(await keptAbout())) await newest(PAUSE_MS).catch(() => undefined);
}

async function dropOldPages(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(
    names.filter((name) => name.startsWith(`${PREFIX}page `) && name !== PAGE).map((name) => caches.delete(name)),
  );
}

async function kept(address: string, request: Request): Promise<Response> {
  return (await (await caches.open(PAGE)).match(address)) ?? fetch(request);
}

interface Newest {
  readonly about: Response; // what the host answered, to be read from a clone
  readonly usable: boolean; // it describes a model, and the model's file is there
}

let coming: Promise<Newest> | undefined; // shared by visits in a row, so that a large file is not asked for twice

/**
 * The newest model's description, once its file is there; until then, and where anything goes wrong, that of the kept
 * model. A hotel's login page answers too, and so does a host that is being mended.
 */
async function newestAbout(event: FetchEvent): Promise<Response> {
  const old = await keptAbout();
  if (!old) return (await newest(Infinity)).about; // where it is of no use, the page says what is wrong with it
  coming ??= newest(PAUSE_MS).finally(() => (coming = undefined));
  const renewed = coming.then(
    ({ about, usable }) => (usable ? about.clone() : old),
    () => old,
  );
  event.waitUntil(renewed);
  return Promise.race([renewed, new Promise<Response>((resolve) => setTimeout(resolve, ANSWER_MS, old))]);
}

/** Asks for the description and, where that is a new one, for its file, and keeps both. */
async function newest(pauseMs: number): Promise<Newest> {
  const { response, data } = await fetched(new Request(ABOUT, { cache: "no-cache" }), pauseMs);
  const about = new Response(data, response);
  const address = about.ok ? await modelAddress(about.clone()) : null;
  return { about, usable: address !== null && (await keepPair(about.clone(), address, pauseMs)) };
}

/** Only with its file: a description alone is of no use. */
async function keptAbout(): Promise<Response | undefined> {
  const cache = await caches.open(MODEL);
  const about = await cache.match(ABOUT);
  const address = about && (await modelAddress(about.clone()));
  return address && (await cache.match(address)) ? about : undefined;
}

/** Where the described file is, as the page asks for it; null where the answer describes no model. */
async function modelAddress(about: Response): Promise<string | null> {
  const { onnx } = ((await about.json().catch(() => null)) ?? {}) as { onnx?: { file?: unknown; sha256?: unknown } };
  if (typeof onnx?.file !== "string" || typeof onnx.sha256 !== "string") return null;
  return new URL(`model/${onnx.file}?sha256=${onnx.sha256}`, SCOPE).href;
}

/** Whether the described file is there, whole. Where the browser has no room to keep it, the older pair stays. */
async function keepPair(about: Response, address: string, pauseMs: number): Promise<boolean> {
  const cache = await caches.open(MODEL);
  const file = (await cache.match(address)) ?? (await wholeFile(address, pauseMs).catch(() => null));
  if (!file) return false;
  const replace = async (): Promise<void> => {
    // In this order the kept description has its file at every moment, wherever this ends.
    if (!(await cache.match(address))) await cache.put(address, file);
    await cache.put(ABOUT, about);
    const others = (await cache.keys()).filter(({ url }) => url !== address && url !== ABOUT);
    await Promise.all(others.map((other) => cache.delete(other)));
  };
  await navigator.locks.request(MODEL, replace).catch(() => undefined); // one tab at a time
  return true;
}

/** The address names the sum of the file, and only a file with that sum counts; a stale copy is asked for once more. */
async function wholeFile(address: string, pauseMs: number): Promise<Response | null> {
  for (const cache of ["default", "reload"] as const) {
    const { response, data } = await fetched(new Request(address, { cache }), pauseMs);
    if (!response.ok || !data) return null;
    if ((await sumOf(data)) === new URL(address).searchParams.get("sha256")) return new Response(data);
  }
  return null;
}

/** An answer and its whole body, which nothing can cut any more. Given up where nothing comes for `pauseMs`. */
async function fetched(
  request: Request,
  pauseMs: number,
): Promise<{ response: Response; data: ArrayBuffer | null }> {
  const control = new AbortController();
  let waiting: ReturnType<typeof setTimeout> | undefined;
  const wait = () => {
    clearTimeout(waiting);
    if (pauseMs < Infinity) waiting = setTimeout(() => control.abort(), pauseMs);
  };
  const watch = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(piece, out) {
      wait();
      out.enqueue(piece);
    },
  });
  try {
    wait();
    const response = await fetch(request, { signal: control.signal });
    const data = response.body && (await new Response(response.body.pipeThrough(watch)).arrayBuffer());
    return { response, data };
  } finally {
    clearTimeout(waiting);
  }
}

async function model(request: Request): Promise<Response> {
  return (await (await caches.open(MODEL)).match(request.url)) ?? fetch(request);
}

async function sumOf(data: ArrayBuffer): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export {};
