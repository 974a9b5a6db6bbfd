/** Writes a ZIP archive in memory, its files stored as they are: photos are compressed already. unzip.ts reads it. */

export interface Entry {
  readonly name: string; // a path with "/" between folders
  readonly data: Uint8Array<ArrayBuffer>;
  readonly date: Date;
}

export const MAX_BYTES = 500_000_000; // what a phone's browser can hold at once, to write and to read
const MAX_FILES = 65_535; // counted in two bytes

export const UTF8_NAMES = 0x0800;
export const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
export const [LOCAL_BYTES, CENTRAL_BYTES, END_BYTES] = [30, 46, 22]; // without names
export const [STORED, DEFLATED] = [0, 8];

/** Throws RangeError where it would be larger than an import takes. */
export function zip(entries: readonly Entry[]): Blob {
  if (entries.length > MAX_FILES) throw new RangeError(`${entries.length} files, of ${MAX_FILES} at most`);
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
  const archive = new Blob([...files, ...directory, end], { type: "application/zip" });
  if (archive.size > MAX_BYTES) throw new RangeError(`${archive.size} bytes, of ${MAX_BYTES} at most`);
  return archive;
}

function commonHeader(entry: Entry, nameLength: number): Uint8Array<ArrayBuffer> {
  const { date, data } = entry;
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = (Math.max(date.getFullYear() - 1980, 0) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const size = data.length;
  return bytes(
    [2, 20],
    [2, UTF8_NAMES],
    [2, STORED],
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

export function crc32(data: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of data) sum = TABLE[(sum ^ byte) & 255]! ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
