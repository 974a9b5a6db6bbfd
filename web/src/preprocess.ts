/**
 * A network's input from an image, bit for bit as `lentigo.imaging.preprocess`: squeeze to a square, crop its centre,
 * scale to [0, 1], normalise. The squeeze is Pillow's antialiased bilinear resize in fixed-point arithmetic.
 */

import type { Pixels, Preprocessing } from "./types";

const WEIGHT_BITS = 22; // Pillow's precision for 8-bit images: 32 - 8 - 2
const HALF = 1 << (WEIGHT_BITS - 1);

export interface NetworkInput {
  readonly data: Float32Array; // channel by channel, row by row
  readonly width: number;
  readonly height: number;
}

interface Taps {
  readonly first: Int32Array; // of every output pixel: the first source pixel
  readonly count: Int32Array; // and how many follow
  readonly weight: Int32Array; // `most` weights an output pixel
  readonly most: number;
}

/** Throws where the image is smaller than the crop and no resize was asked for. */
export function preprocess(image: Pixels, settings: Preprocessing): NetworkInput {
  let square = settings.resize_px === null ? image : squeeze(image, settings.resize_px);
  if (settings.crop_px !== null) square = centreCrop(square, settings.crop_px);
  const area = square.width * square.height;
  const data = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    const levels = normalised(settings.mean[channel] ?? 0, settings.std[channel] ?? 1);
    for (let pixel = 0; pixel < area; pixel++) {
      data[channel * area + pixel] = levels[square.data[3 * pixel + channel]!]!;
    }
  }
  return { data, width: square.width, height: square.height };
}

/**
 * The image at `side` x `side` pixels, whatever its shape was. Both directions round to 8 bits, so their order shows:
 * rows first, but columns first where the height shrinks by more than twice what the width does, as Pillow 13 does.
 */
export function squeeze(image: Pixels, side: number): Pixels {
  const columnsFirst = image.height > side && image.height - side > 2 * (image.width - side);
  return columnsFirst ? resizeRows(resizeColumns(image, side), side) : resizeColumns(resizeRows(image, side), side);
}

/** Every grey level as the network sees it, in float32 at each step, as numpy has it. */
function normalised(mean: number, std: number): Float32Array {
  const levels = new Float32Array(256);
  for (let level = 0; level < 256; level++) {
    const scaled = Math.fround(Math.fround(level) / 255);
    levels[level] = Math.fround(scaled - Math.fround(mean)) / Math.fround(std);
  }
  return levels;
}

function centreCrop(image: Pixels, side: number): Pixels {
  if (Math.min(image.width, image.height) < side) {
    throw new RangeError(`the image has ${image.width} x ${image.height} pixels, fewer than ${side} on a side`);
  }
  const top = halfToEven(image.height - side);
  const left = halfToEven(image.width - side);
  const data = new Uint8Array(3 * side * side);
  for (let row = 0; row < side; row++) {
    const start = 3 * ((top + row) * image.width + left);
    data.set(image.data.subarray(start, start + 3 * side), 3 * row * side);
  }
  return { data, width: side, height: side };
}

/** Half of a whole number, rounded; halves to even, as Python and torchvision round. */
export function halfToEven(whole: number): number {
  const half = Math.floor(whole / 2);
  return whole % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}

function resizeRows(image: Pixels, width: number): Pixels {
  if (image.width === width) return image;
  const taps = resizeTaps(image.width, width);
  const data = new Uint8Array(3 * width * image.height);
  for (let row = 0; row < image.height; row++) {
    resample(image.data, 3 * row * image.width, 3, data, 3 * row * width, 3, taps);
  }
  return { data, width, height: image.height };
}

function resizeColumns(image: Pixels, height: number): Pixels {
  if (image.height === height) return image;
  const taps = resizeTaps(image.height, height);
  const step = 3 * image.width;
  const data = new Uint8Array(step * height);
  for (let column = 0; column < image.width; column++) {
    resample(image.data, 3 * column, step, data, 3 * column, step, taps);
  }
  return { data, width: image.width, height };
}

/** One line of pixels: `step` bytes lie between neighbours. */
function resample(
  source: Uint8Array,
  from: number,
  fromStep: number,
  target: Uint8Array,
  to: number,
  toStep: number,
  taps: Taps,
): void {
  for (let out = 0; out < taps.first.length; out++) {
    let red = HALF;
    let green = HALF;
    let blue = HALF;
    let at = from + taps.first[out]! * fromStep;
    const begin = out * taps.most;
    const end = begin + taps.count[out]!;
    for (let tap = begin; tap < end; tap++, at += fromStep) {
      const weight = taps.weight[tap]!;
      red += weight * source[at]!;
      green += weight * source[at + 1]!;
      blue += weight * source[at + 2]!;
    }
    // Weights are 0 or more and sum to 1 within rounding, so that only the upper end can be passed.
    const place = to + out * toStep;
    target[place] = Math.min(red >> WEIGHT_BITS, 255);
    target[place + 1] = Math.min(green >> WEIGHT_BITS, 255);
    target[place + 2] = Math.min(blue >> WEIGHT_BITS, 255);
  }
}

/** Source pixels and weights of Pillow's resize in one direction, as `lentigo.imaging.resize_weights`. */
function resizeTaps(size: number, out: number): Taps {
  const scale = size / out;
  const support = Math.max(scale, 1); // of the triangle filter, stretched when the image shrinks
  const most = 2 * Math.ceil(support) + 1;
  const taps = { first: new Int32Array(out), count: new Int32Array(out), weight: new Int32Array(out * most), most };
  for (let pixel = 0; pixel < out; pixel++) {
    const centre = (pixel + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const count = Math.min(Math.trunc(centre + support + 0.5), size) - first;
    const triangle = Array.from({ length: count }, (_, tap) =>
      Math.max(1 - Math.abs((first + tap - centre + 0.5) / support), 0),
    );
    const total = triangle.reduce((sum, value) => sum + value, 0);
    taps.first[pixel] = first;
    taps.count[pixel] = count;
    triangle.forEach((value, tap) => {
      taps.weight[pixel * most + tap] = Math.floor((value / total) * (1 << WEIGHT_BITS) + 0.5);
    });
  }
  return taps;
}
