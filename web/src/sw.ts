/**
 * The service worker: the page and its model without a network.
 *
 * The page's files are kept under one version, the sum of their contents, and replaced together. The model is not part
 * of that version: its description and its file are a pair of their own, asked for at every visit and replaced together
 * too, so that what is kept for when there is no network is whole at any time. Everything else passes by untouched.
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
// Where an older model is kept, a network that neither answers nor fails is given up.
const ANSWER_MS = 4000; // for the whole description
const PAUSE_MS = 8000; // without any byte of a new model's file

self.addEventListener("install", (event) => event.waitUntil(Promise.all([keepPage(), keepModel()])));

self.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([dropOldPages(), self.clients.claim()]));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method !== "GET" || address.origin !== SCOPE.origin || !address.pathname.startsWith(SCOPE.pathname))
    return;
  const path = address.pathname.slice(SCOPE.pathname.length);
  if (path === "" || path === "index.html") event.respondWith(kept(new URL("index.html", SCOPE).href, request));
  else if (LENTIGO_FILES.includes(path)) event.respondWith(kept(address.origin + address.pathname, request));
  else if (path === "model/model.json") event.respondWith(newestAbout());
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

/** Also without a model, or without its answer, the page itself works offline, and says so when it asks for the model. */
async function keepModel(): Promise<void> {
  await newestAbout().catch(() => undefined);
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

/**
 * The newest model's description, once its file is there; until then, and where anything goes wrong, that of the kept
 * model. A hotel's login page answers too, and so does a host that is being mended.
 */
async function newestAbout(): Promise<Response> {
  const old = await keptAbout();
  try {
    const response = await fetch(ABOUT, { cache: "no-cache", signal: old ? AbortSignal.timeout(ANSWER_MS) : null });
    const address = response.ok ? await modelAddress(response.clone()) : null;
    const usable = address !== null && (await keepPair(response.clone(), address, old ? PAUSE_MS : Infinity));
    return usable ? response : (old ?? response); // without an older model the page says what is wrong with this one
  } catch (error) {
    if (old) return old;
    throw error;
  }
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
    const data = await bytesOf(new Request(address, { cache }), pauseMs);
    if ((await sumOf(data)) === new URL(address).searchParams.get("sha256")) return new Response(data);
  }
  return null;
}

/** Given up where nothing comes for `pauseMs`. */
async function bytesOf(request: Request, pauseMs: number): Promise<ArrayBuffer> {
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
    if (!response.ok || !response.body) throw new Error(`${request.url}: ${response.status}`);
    return await new Response(response.body.pipeThrough(watch)).arrayBuffer();
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
