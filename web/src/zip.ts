/** A ZIP archive in memory, its files stored as they are: photos are compressed already. */

export interface Entry {
  readonly name: string; // a path with "/" between folders
  readonly data: Uint8Array<ArrayBuffer>;
  readonly date: Date;
}

const UTF8_NAMES = 0x0800;

export function zip(entries: readonly Entry[]): Blob {
  const files: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const common = commonHeader(entry, name.length);
    const local = joined(bytes([4, 0x04034b50]), common, name);
    files.push(local, entry.data);
    // Version that made it, then the common part, no comment, disk 0, no attributes, where the file starts.
    directory.push(
      joined(bytes([4, 0x02014b50], [2, 20]), common, bytes([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name),
    );
    offset += local.length + entry.data.length;
  }
  const size = directory.reduce((sum, part) => sum + (part as Uint8Array).length, 0);
  const count = entries.length;
  const end = bytes([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]);
  return new Blob([...files, ...directory, end], { type: "application/zip" });
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
