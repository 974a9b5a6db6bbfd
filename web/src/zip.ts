/** A ZIP archive in memory, its files stored as they are: photos are compressed already. Reads only what it writes. */

export interface Entry {
  readonly name: string; // a path with "/" between folders
  readonly data: Uint8Array<ArrayBuffer>;
  readonly date: Date;
}

const UTF8_NAMES = 0x0800;
const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const [LOCAL_BYTES, CENTRAL_BYTES, END_BYTES] = [30, 46, 22]; // without names

export function zip(entries: readonly Entry[]): Blob {
  const files: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const common = commonHeader(entry, name.length);
    const local = joined(bytes([4, LOCAL]), common, name);
    files.push(local, entry.data);
    // Version that made it, then the common part, no comment, disk 0, no attributes, where the file starts.
    directory.push(
      joined(bytes([4, CENTRAL], [2, 20]), common, bytes([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name),
    );
    offset += local.length + entry.data.length;
  }
  const size = directory.reduce((sum, part) => sum + (part as Uint8Array).length, 0);
  const count = entries.length;
  const end = bytes([4, END], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]);
  return new Blob([...files, ...directory, end], { type: "application/zip" });
}

/** Files by their names, as views into the archive; null where it is not whole, or not one that `zip` wrote. */
export function unzipped(archive: Uint8Array): Map<string, Uint8Array> | null {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  const end = archive.length - END_BYTES;
  if (end < 0 || view.getUint32(end, true) !== END) return null;
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const files = new Map<string, Uint8Array>();
  try {
    for (let entry = 0; entry < count; entry++) {
      const found = storedFile(archive, view, at);
      if (!found || files.has(found.name)) return null;
      files.set(found.name, found.data);
      at = found.next;
    }
  } catch {
    return null; // a place outside the archive, or a name that is not UTF-8
  }
  return at === end ? files : null;
}

/** The file that the directory names at `at`, if both agree and its sum is right. */
function storedFile(
  archive: Uint8Array,
  view: DataView,
  at: number,
): { name: string; data: Uint8Array; next: number } | null {
  const [size, nameLength, from] = [
    view.getUint32(at + 24, true),
    view.getUint16(at + 28, true),
    view.getUint32(at + 42, true),
  ];
  if (view.getUint32(at, true) !== CENTRAL || view.getUint32(from, true) !== LOCAL) return null;
  // Both begin with the same 26 bytes: flags, method, date, sum, sizes, length of the name, no extra.
  for (let byte = 0; byte < 26; byte++) if (archive[from + 4 + byte] !== archive[at + 6 + byte]) return null;
  const stored = (view.getUint16(at + 8, true) | UTF8_NAMES) === UTF8_NAMES && view.getUint16(at + 10, true) === 0;
  const plain = stored && view.getUint32(at + 20, true) === size && view.getUint16(at + 30, true) === 0;
  const begin = from + LOCAL_BYTES + nameLength;
  if (!plain || begin + size > archive.length) return null;
  const data = archive.subarray(begin, begin + size);
  if (crc32(data) !== view.getUint32(at + 16, true)) return null;
  const next = at + CENTRAL_BYTES + nameLength;
  const name = new TextDecoder("utf-8", { fatal: true }).decode(archive.subarray(at + CENTRAL_BYTES, next));
  return { name, data, next };
}

function commonHeader(entry: Entry, nameLength: number): Uint8Array<ArrayBuffer> {
  const { date, data } = entry;
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = (Math.max(date.getFullYear() - 1980, 0) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const stored = 0;
  const size = data.length;
  return bytes(
    [2, 20],
    [2, UTF8_NAMES],
    [2, stored],
    [2, time],
    [2, day],
    [4, crc32(data)],
    [4, size],
    [4, size],
    [2, nameLength],
    [2, 0],
  );
}

/** Numbers, each in so many bytes, the lowest first. */
function bytes(...numbers: [width: number, value: number][]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(numbers.reduce((sum, [width]) => sum + width, 0));
  let at = 0;
  for (const [width, value] of numbers) {
    for (let byte = 0; byte < width; byte++) out[at++] = (value >>> (8 * byte)) & 255;
  }
  return out;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(data: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of data) sum = TABLE[(sum ^ byte) & 255]! ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
