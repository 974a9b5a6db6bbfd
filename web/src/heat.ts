/**
 * A heat map as a picture to lay over the photo, as `lentigo.explain.on_image`: cells enlarged bilinearly over the part
 * that the network saw, 0 outside it, blue to red. Colour and opacity both grow with heat / maximum, so that an empty
 * map shows nothing; the maximum is the model's, never the photo's own, which would make noise look sure.
 */

import { halfToEven } from "./preprocess";
import type { Heat, Preprocessing } from "./types";

/** Red, green, blue, opacity of `side` x `side` pixels over the whole square photo. */
export function heatPicture(
  heat: Heat,
  preprocessing: Preprocessing,
  maximum: number,
  side: number,
): Uint8ClampedArray<ArrayBuffer> {
  const down = cellWeights(heat.rows, preprocessing, side);
  const across = cellWeights(heat.columns, preprocessing, side);
  const picture = new Uint8ClampedArray(4 * side * side);
  for (let row = 0; row < side; row++) {
    const line = mixedRows(heat, down[row]!);
    for (let column = 0; column < side; column++) {
      let value = 0;
      for (const [cell, weight] of across[column]!) value += weight * line[cell]!;
      paint(picture, 4 * (row * side + column), maximum > 0 ? Math.min(value / maximum, 1) : 0);
    }
  }
  return picture;
}

/** Red, green and blue in [0, 1] of a level in [0, 1]: blue, cyan at 1/4, green at 1/2, yellow at 3/4, red. */
export function blueToRed(level: number): [number, number, number] {
  const clip = (value: number) => Math.min(Math.max(value, 0), 1);
  return [clip(4 * level - 2), clip(Math.min(4 * level, 4 - 4 * level)), clip(2 - 4 * level)];
}

/** The largest positive heat of a map; 0 where nothing speaks for malignant. */
export function largest(heat: Heat): number {
  return heat.data.reduce((most, value) => Math.max(most, value), 0);
}

type Taps = [cell: number, weight: number][];

function paint(picture: Uint8ClampedArray, at: number, level: number): void {
  const [red, green, blue] = blueToRed(level);
  picture[at] = 255 * red;
  picture[at + 1] = 255 * green;
  picture[at + 2] = 255 * blue;
  picture[at + 3] = 255 * level;
}

/** Only what speaks for malignant: negative heat counts as 0. */
function mixedRows(heat: Heat, taps: Taps): Float64Array {
  const line = new Float64Array(heat.columns);
  for (const [cell, weight] of taps) {
    for (let column = 0; column < heat.columns; column++) {
      line[column]! += weight * Math.max(heat.data[cell * heat.columns + column]!, 0);
    }
  }
  return line;
}

/** What every cell gives to every pixel along one side; no taps outside the crop. */
function cellWeights(cells: number, preprocessing: Preprocessing, size: number): Taps[] {
  const { resize_px: resize, crop_px: crop } = preprocessing;
  const [first, length, side] =
    crop === null || resize === null ? [0, 1, 1] : [halfToEven(resize - crop), crop, resize];
  const support = Math.max((cells * side) / (length * size), 1); // cells a pixel, where a pixel is wider than a cell
  return Array.from({ length: size }, (_, pixel) => {
    const centre = ((pixel + 0.5) * side) / size;
    if (centre < first || centre > first + length) return [];
    return triangle(((centre - first) / length) * cells - 0.5, cells, support);
  });
}

function triangle(position: number, cells: number, support: number): Taps {
  const taps: Taps = [];
  for (
    let cell = Math.max(Math.floor(position - support), 0);
    cell <= Math.min(position + support, cells - 1);
    cell++
  ) {
    const weight = 1 - Math.abs(position - cell) / support;
    if (weight > 0) taps.push([cell, weight]);
  }
  const total = taps.reduce((sum, [, weight]) => sum + weight, 0);
  return taps.map(([cell, weight]) => [cell, weight / total]);
}
