/** A file in, upright pixels out. The browser decodes; colour profiles are ignored and EXIF orientation is applied, as in Python. */

import type { Pixels } from "./types";

export const MAX_BYTES = 50_000_000;
export const MAX_PIXELS = 50_000_000;
// iOS draws nothing on a canvas above 16,777,216 pixels; a larger crop is first drawn at this side.
const CANVAS_SIDE = 4096;

export type BadFile = "empty" | "too_many_bytes" | "too_many_pixels" | "not_an_image";

/** A file that cannot be used; `reason` names the sentence in strings.ts. */
export class BadFileError extends Error {
  constructor(readonly reason: BadFile) {
    super(reason);
  }
}

/** A square of an image, in its pixels. */
export interface Square {
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

/** Throws BadFileError. The caller closes the bitmap. */
export async function decode(file: Blob): Promise<ImageBitmap> {
  if (file.size === 0) throw new BadFileError("empty");
  if (file.size > MAX_BYTES) throw new BadFileError("too_many_bytes");
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new BadFileError("not_an_image");
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    bitmap.close();
    throw new BadFileError("too_many_pixels");
  }
  return bitmap;
}

/** A region of the image as RGB, transparency laid over white. */
export function regionPixels(
  image: CanvasImageSource,
  left: number,
  top: number,
  width: number,
  height: number,
): Pixels {
  const shrink = Math.min(1, CANVAS_SIDE / Math.max(width, height));
  const canvas = drawn(image, [left, top, width, height], Math.round(width * shrink), Math.round(height * shrink));
  const rgba = context(canvas).getImageData(0, 0, canvas.width, canvas.height).data;
  const data = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    data[to] = rgba[from]!;
    data[to + 1] = rgba[from + 1]!;
    data[to + 2] = rgba[from + 2]!;
  }
  return { data, width: canvas.width, height: canvas.height };
}

/** A square of the image, `side` pixels wide, on a new canvas. */
export function squareCanvas(image: CanvasImageSource, square: Square, side: number): HTMLCanvasElement {
  return drawn(image, [square.left, square.top, square.side, square.side], side, side);
}

/** A picture to keep: drawn anew, so that nothing of the file but its pixels is left (no place, no time, no device). */
export function toJpeg(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no JPEG from this canvas"))), "image/jpeg", 0.92);
  });
}

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("this browser gives no canvas");
  return found;
}

function drawn(
  image: CanvasImageSource,
  source: [number, number, number, number],
  width: number,
  height: number,
): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const draw = context(canvas);
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, width, height);
  draw.imageSmoothingQuality = "high";
  draw.drawImage(image, ...source, 0, 0, width, height);
  return canvas;
}
