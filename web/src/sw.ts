/**
 * The service worker: the page and its model without a network.
 *
 * The page's files are kept under one version, the sum of their contents, and replaced together. The model is not part
 * of that version: it is asked for first, and kept for when there is no network. Everything else passes by untouched.
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

/** Also without a model, or without its answer, the page itself works offline. */
async function keepModel(): Promise<void> {
  try {
    const { onnx } = (await (await newestAbout()).json()) as { onnx: { file: string; sha256: string } };
    await model(new Request(new URL(`model/${onnx.file}?sha256=${onnx.sha256}`, SCOPE)));
  } catch {
    // The page says so itself when it asks for the model.
  }
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

/** Only a description of a model is kept: a hotel's login page answers too, and so does a host that is being mended. */
async function newestAbout(): Promise<Response> {
  const cache = await caches.open(MODEL);
  const old = await cache.match(ABOUT);
  try {
    const response = await fetch(ABOUT, { cache: "no-cache" });
    if (!response.ok || !(await describesModel(response.clone()))) return old ?? response;
    await cache.put(ABOUT, response.clone());
    return response;
  } catch (error) {
    if (old) return old;
    throw error;
  }
}

async function describesModel(response: Response): Promise<boolean> {
  try {
    const about = (await response.json()) as { onnx?: { sha256?: unknown } } | null;
    return typeof about?.onnx?.sha256 === "string";
  } catch {
    return false;
  }
}

/** The address names the sum of the file, and only a file with that sum is kept, so that it is never stale. */
async function model(request: Request): Promise<Response> {
  const cache = await caches.open(MODEL);
  const old = await cache.match(request);
  if (old) return old;
  const response = await fetch(request);
  if (response.ok && (await sumOf(response.clone())) === new URL(request.url).searchParams.get("sha256")) {
    await cache.put(request, response.clone());
    const others = (await cache.keys()).filter(({ url }) => url !== request.url && url !== ABOUT);
    await Promise.all(others.map((other) => cache.delete(other)));
  }
  return response;
}

async function sumOf(response: Response): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export {};
