/**
 * Moles and their photos, kept in this browser's IndexedDB and nowhere else.
 * Photos are kept as bytes, not as Blobs: Safari loses Blobs in private windows.
 */

import type { Preprocessing, Screening } from "./types";

export interface Mole {
  readonly id: string;
  readonly name: string;
  readonly created: string; // ISO 8601
}

export interface Visit {
  readonly id: string;
  readonly mole: string;
  readonly taken: string; // ISO 8601, when the photo was checked
  readonly photo: ArrayBuffer; // JPEG of the square that the model saw
  readonly screening: Screening;
  readonly model: { readonly name: string; readonly title: string; readonly sha256: string; readonly demo: boolean };
  readonly heat: { readonly preprocessing: Preprocessing; readonly cam_maximum: number }; // how to draw the map
}

const MOLES = "moles";
const VISITS = "visits";
// An origin may hold several of these pages (as on a shared static host); each keeps its own.
const NAME = `lentigo ${new URL(".", location.href).pathname}`;

export async function moles(): Promise<Mole[]> {
  const all = await read<Mole[]>(MOLES, (store) => store.getAll());
  return all.sort((a, b) => a.name.localeCompare(b.name));
}

/** Newest first. */
export async function visits(mole?: string): Promise<Visit[]> {
  const all = await read<Visit[]>(VISITS, (store) =>
    mole === undefined ? store.getAll() : store.index("mole").getAll(mole),
  );
  return all.sort((a, b) => b.taken.localeCompare(a.taken));
}

export function visit(id: string): Promise<Visit | undefined> {
  return read<Visit | undefined>(VISITS, (store) => store.get(id));
}

export async function addMole(name: string): Promise<Mole> {
  const mole = { id: newId(), name, created: new Date().toISOString() };
  await write([MOLES], (store) => void store(MOLES).add(mole));
  return mole;
}

export async function addVisit(entry: Omit<Visit, "id" | "taken">): Promise<Visit> {
  const added = { ...entry, id: newId(), taken: new Date().toISOString() };
  await write([VISITS], (store) => void store(VISITS).add(added));
  return added;
}

/**
 * Adds what is not there yet, all of it or nothing. A mole of a known name is that mole, as when a photo is saved.
 * Returns how many were added. Reads and writes in one transaction: another tab may be deleting.
 */
export function addMissing(
  theirs: readonly Mole[],
  photos: readonly Visit[],
): Promise<{ photos: number; moles: number }> {
  return write([MOLES, VISITS], async (store) => {
    const mine = await answer<Mole[]>(store(MOLES).getAll());
    const byMole = store(VISITS).index("mole");
    // A photo whose mole is gone is shown nowhere, so it counts as missing.
    const shown = await Promise.all(mine.map(({ id }) => answer<string[]>(byMole.getAllKeys(id) as IDBRequest)));
    const there = new Set(shown.flat());
    const home = new Map<string, string>();
    for (const { id, name } of theirs) {
      const known = mine.find((mole) => mole.id === id) ?? mine.find((mole) => mole.name === name);
      if (known) home.set(id, known.id);
    }
    const newMoles = theirs.filter(({ id }) => !home.has(id));
    const newPhotos = photos.filter(({ id }) => !there.has(id));
    for (const mole of newMoles) store(MOLES).add(mole);
    for (const visit of newPhotos) store(VISITS).put({ ...visit, mole: home.get(visit.mole) ?? visit.mole });
    return { photos: newPhotos.length, moles: newMoles.length };
  });
}

/** Asks the browser not to clear it when space is short; a refusal changes nothing else. */
export function askToKeep(): void {
  void (navigator.storage as StorageManager | undefined)?.persist?.().catch(() => false);
}

export function removeVisit(id: string): Promise<void> {
  return write([VISITS], (store) => void store(VISITS).delete(id));
}

/** The mole and all its photos, also those that another tab has just saved. */
export function removeMole(id: string): Promise<void> {
  return write([MOLES, VISITS], async (store) => {
    const gone = await answer<string[]>(store(VISITS).index("mole").getAllKeys(id) as IDBRequest);
    store(MOLES).delete(id);
    for (const photo of gone) store(VISITS).delete(photo);
  });
}

export function removeAll(): Promise<void> {
  return write([MOLES, VISITS], (store) => {
    store(MOLES).clear();
    store(VISITS).clear();
  });
}

function newId(): string {
  const random = crypto.getRandomValues(new Uint8Array(12)); // randomUUID is missing on plain http
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

let opened: Promise<IDBDatabase> | undefined;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(MOLES, { keyPath: "id" });
      request.result.createObjectStore(VISITS, { keyPath: "id" }).createIndex("mole", "mole");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  }).catch((error: unknown) => {
    opened = undefined; // so that a later try opens anew
    throw error;
  });
  return opened;
}

async function read<T>(name: string, ask: (store: IDBObjectStore) => IDBRequest): Promise<T> {
  return answer<T>(ask((await database()).transaction(name).objectStore(name)));
}

function answer<T>(request: IDBRequest): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error);
  });
}

/** Done only when the browser has committed it. `change` may await answers of this transaction, and nothing else. */
async function write<T>(
  names: string[],
  change: (store: (name: string) => IDBObjectStore) => T | Promise<T>,
): Promise<T> {
  const transaction = (await database()).transaction(names, "readwrite");
  let over = false;
  const committed = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => {
      over = true;
      reject(transaction.error);
    };
  });
  committed.catch(() => undefined); // the error of `change` says more
  try {
    const result = await change((name) => transaction.objectStore(name));
    await committed;
    return result;
  } catch (error) {
    if (!over) transaction.abort(); // else the part before the error would stay
    throw error;
  }
}
