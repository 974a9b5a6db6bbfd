/**
 * Reads a ZIP archive in memory: what zip.ts wrote, and what other programs make of it, unpacked and packed again.
 *
 * Files may be stored or deflated. Their sums are checked, and nothing is unpacked beyond the size that the archive's
 * directory announces. What systems add by themselves is left out, and so is one folder around everything.
 */

import { CENTRAL, CENTRAL_BYTES, crc32, DEFLATED, END, END_BYTES, LOCAL, LOCAL_BYTES, STORED, UTF8_NAMES } from "./zip";

const ENCODING_HINTS = 0x0006; // how hard the packer tried
const SIZES_BEHIND = 0x0008; // after the file instead of before it; the directory has them in any case

/** An archive that is too large once unpacked. */
export class TooManyBytesError extends Error {}

interface Packed {
  readonly name: string;
  readonly data: Uint8Array<ArrayBuffer>; // as it lies in the archive
  readonly method: number;
  readonly size: number; // unpacked
  readonly sum: number;
}

/**
 * Files by their `plainName`s; null where the archive is not whole, or not of this kind.
 * Throws TooManyBytesError where its files hold more than `maxBytes` together, before any of them is unpacked.
 */
export async function unzipped(
  archive: Uint8Array<ArrayBuffer>,
  maxBytes: number,
): Promise<Map<string, Uint8Array> | null> {
  const all = directory(archive)?.filter(({ name }) => !isOfTheSystem(name));
  if (!all) return null;
  if (all.reduce((sum, { size }) => sum + size, 0) > maxBytes) throw new TooManyBytesError();
  const folder = commonFolder(all.map(({ name }) => name));
  const files = new Map<string, Uint8Array>();
  for (const packed of all) {
    const name = packed.name.slice(folder.length);
    const data = await unpacked(packed).catch(() => null);
    if (!data || crc32(data) !== packed.sum || files.has(name)) return null;
    files.set(name, data);
  }
  return files;
}

/** A name without what is not ASCII: programs write the rest in several ways, and some in one that cannot be told. */
export function plainName(name: string): string {
  return name.normalize("NFC").replace(/[^\x20-\x7e]+/g, "");
}

/** What the archive's directory names, or null. */
function directory(archive: Uint8Array<ArrayBuffer>): Packed[] | null {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  const end = archive.length - END_BYTES;
  if (end < 0 || view.getUint32(end, true) !== END) return null;
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const files: Packed[] = [];
  try {
    for (let entry = 0; entry < count; entry++) {
      const found = packedFile(archive, view, at);
      if (!found) return null;
      files.push(found);
      at += CENTRAL_BYTES + [28, 30, 32].reduce((sum, part) => sum + view.getUint16(at + part, true), 0);
    }
  } catch {
    return null; // a place outside the archive
  }
  return at === end ? files : null;
}

/** The file that the directory names at `at`, if both agree. */
function packedFile(archive: Uint8Array<ArrayBuffer>, view: DataView, at: number): Packed | null {
  const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
  const [packedSize, size, nameLength] = [
    view.getUint32(at + 20, true),
    view.getUint32(at + 24, true),
    view.getUint16(at + 28, true),
  ];
  const from = view.getUint32(at + 42, true);
  if (view.getUint32(at, true) !== CENTRAL || view.getUint32(from, true) !== LOCAL) return null;
  if (flags & ~(UTF8_NAMES | ENCODING_HINTS | SIZES_BEHIND)) return null; // encrypted, for one
  if (method !== DEFLATED && (method !== STORED || packedSize !== size)) return null;
  if (view.getUint16(from + 8, true) !== method || view.getUint16(from + 26, true) !== nameLength) return null;
  const name = archive.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameLength);
  const begin = from + LOCAL_BYTES + nameLength + view.getUint16(from + 28, true);
  if (name.some((byte, place) => archive[from + LOCAL_BYTES + place] !== byte)) return null;
  if (begin + packedSize > archive.length) return null;
  const data = archive.subarray(begin, begin + packedSize);
  return { name: plainName(text(name)), data, method, size, sum: view.getUint32(at + 16, true) };
}

/** UTF-8, which some programs do not announce, or else any bytes that are no ASCII. */
function text(name: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(name);
  } catch {
    return new TextDecoder("latin1").decode(name);
  }
}

/** Folders, and what macOS adds. */
function isOfTheSystem(name: string): boolean {
  const parts = name.split("/");
  return parts.at(-1) === "" || parts.at(-1) === ".DS_Store" || parts[0] === "__MACOSX";
}

/** The one folder that everything lies in, with its "/"; or nothing. */
function commonFolder(names: readonly string[]): string {
  const first = names[0] ?? "";
  const folder = first.slice(0, first.indexOf("/") + 1);
  return names.every((name) => name.startsWith(folder)) ? folder : "";
}

/** Null where it is not of the announced size; throws where it is damaged. */
async function unpacked({ data, method, size }: Packed): Promise<Uint8Array | null> {
  if (method === STORED) return data;
  const out = new Uint8Array(size);
  let filled = 0;
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    if (filled + piece.value.length > size) {
      await reader.cancel();
      return null;
    }
    out.set(piece.value, filled);
    filled += piece.value.length;
  }
  return filled === size ? out : null;
}
