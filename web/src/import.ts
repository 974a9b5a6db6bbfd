/** Reads what export.ts wrote, on another device or after the browser's data were cleared. All of it, or nothing. */

import { addMissing, type Mole, type Visit } from "./store";
import { strings } from "./strings";
import type { Finding, Preprocessing } from "./types";
import { plainName, TooManyBytesError, unzipped } from "./unzip";
import { MAX_BYTES } from "./zip";

const FORMAT = 1;
const HEAT_CELLS = 1_000_000;

export type BadImport = "too_many_bytes" | "not_an_export" | "newer";

/** A file that cannot be imported; `reason` names the sentence in strings.ts. */
export class BadImportError extends Error {
  constructor(readonly reason: BadImport) {
    super(reason);
  }
}

/** How many photos and moles were new. Throws BadImportError, and the store's own errors; then nothing is changed. */
export async function imported(file: Blob): Promise<{ photos: number; moles: number }> {
  if (file.size > MAX_BYTES) throw new BadImportError("too_many_bytes");
  const files = await unzipped(new Uint8Array(await file.arrayBuffer()), MAX_BYTES).catch((error: unknown) => {
    throw error instanceof TooManyBytesError ? new BadImportError("too_many_bytes") : error;
  });
  const text = files?.get("history.json");
  if (!files || !text) throw new BadImportError("not_an_export");
  const history = record(json(text));
  if (typeof history["format"] === "number" && history["format"] > FORMAT) throw new BadImportError("newer");
  hold(history["format"] === FORMAT);
  const moles = list(history["moles"]).map(readMole);
  const ids = new Set(moles.map(({ id }) => id));
  const visits = list(history["visits"]).map((entry) => readVisit(record(entry), files));
  hold(ids.size === moles.length && new Set(visits.map(({ id }) => id)).size === visits.length);
  hold(visits.every(({ mole }) => ids.has(mole)));
  return addMissing(moles, visits);
}

function readMole(value: unknown): Mole {
  const { id, name, created } = record(value);
  return { id: identity(id), name: words(name), created: date(created) };
}

function readVisit(entry: Record<string, unknown>, files: ReadonlyMap<string, Uint8Array>): Visit {
  const { band, heat, model } = entry;
  hold(band === "low" || band === "unclear" || band === "high");
  const [map, network] = [record(heat), record(model)];
  const [rows, columns] = [whole(map["rows"]), whole(map["columns"])];
  const values = list(map["values"]);
  hold(rows * columns <= HEAT_CELLS && values.length === rows * columns);
  return {
    id: identity(entry["id"]),
    mole: identity(entry["mole"]),
    taken: date(entry["taken"]),
    photo: jpeg(files.get(plainName(words(entry["photo"])))),
    screening: {
      band,
      probability: share(entry["probability"]),
      logit: number(entry["logit"]),
      outlier: entry["outlier"] === null ? null : number(entry["outlier"]),
      findings: list(entry["findings"]).map(readFinding),
      heat: { data: Float32Array.from(values, cell), rows, columns },
    },
    model: {
      name: words(network["name"]),
      title: words(network["title"]),
      sha256: words(network["sha256"]),
      demo: network["demo"] !== false, // in doubt a result counts for less
    },
    heat: { preprocessing: readPreprocessing(record(map["preprocessing"])), cam_maximum: number(map["cam_maximum"]) },
  };
}

function readFinding(value: unknown): Finding {
  const { name, severity } = record(value);
  hold(typeof name === "string");
  if (!Object.hasOwn(strings.findings, name)) throw new BadImportError("newer");
  hold(severity === "refuse" || severity === "warn");
  return { name: name as Finding["name"], severity };
}

function readPreprocessing(value: Record<string, unknown>): Preprocessing {
  const size = (side: unknown) => (side === null ? null : whole(side));
  const three = (numbers: unknown) => list(numbers).map(number);
  const found = {
    resize_px: size(value["resize_px"]),
    crop_px: size(value["crop_px"]),
    mean: three(value["mean"]),
    std: three(value["std"]),
  };
  hold(found.mean.length === 3 && found.std.length === 3);
  return found;
}

// ---------------------------------------------------------------- one value each, or BadImportError

function hold(condition: boolean): asserts condition {
  if (!condition) throw new BadImportError("not_an_export");
}

function json(text: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch {
    throw new BadImportError("not_an_export");
  }
}

function record(value: unknown): Record<string, unknown> {
  hold(typeof value === "object" && value !== null && !Array.isArray(value));
  return value as Record<string, unknown>;
}

function list(value: unknown): readonly unknown[] {
  hold(Array.isArray(value));
  return value;
}

function words(value: unknown): string {
  hold(typeof value === "string" && value.trim() !== "" && value.length <= 300);
  return value;
}

/** As the store gives them out; they are parts of addresses. */
function identity(value: unknown): string {
  hold(typeof value === "string" && /^[0-9a-f]{24}$/.test(value));
  return value;
}

/** Written as `toISOString` does, since the store sorts by the text. */
function date(value: unknown): string {
  hold(typeof value === "string" && !Number.isNaN(Date.parse(value)) && new Date(value).toISOString() === value);
  return value;
}

function number(value: unknown): number {
  hold(typeof value === "number" && Number.isFinite(value));
  return value;
}

/** JSON writes null where there is no finite number. */
function cell(value: unknown): number {
  return value === null ? NaN : number(value);
}

function share(value: unknown): number {
  const found = number(value);
  hold(found >= 0 && found <= 1);
  return found;
}

function whole(value: unknown): number {
  const found = number(value);
  hold(Number.isInteger(found) && found > 0);
  return found;
}

/** With memory of its own, not the whole file's. */
function jpeg(data: Uint8Array | undefined): ArrayBuffer {
  hold(data !== undefined && data[0] === 0xff && data[1] === 0xd8 && data[2] === 0xff);
  return new Uint8Array(data).buffer;
}
