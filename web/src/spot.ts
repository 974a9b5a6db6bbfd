/** Where the spot is that a picture shows, number by number as `lentigo.deploy.lesion_spot`, which says why. */

import {
  both,
  boxSums,
  filled,
  grown,
  highest,
  lowest,
  mapped,
  maskOf,
  not,
  parts,
  shrunk,
  sideOf,
  times,
  total,
  type Mask,
  type Plane,
} from "./planes";
import type { Pixels } from "./types";

export const WORK_PX = 128; // pictures are squeezed to a square of it
const SPOT_PX = 64; // spots are sought on a square of it
const BLACK = 320; // of 2040: what is darker and hangs together with a corner is the dermoscope's frame
const LEAST_SEEN = 0.15;
const FRAME_DUSK_PX = 3;
const HAIR_PX = 2;
const SKIN_SHARE = 0.3;
const TOP_SHARE = 0.995;
const LEVELS = 10;
const LEAST_SPOT_PX = 8;
const FAINT = 3;
const RIM_PX = 2;
const FULL_WEIGHT = 64;
const APART_PX = 2;
const OTHER_SHARE = 0.15;
const OTHER_STEP = 0.6;
const OTHER_BORDER = 0.2;
const OTHER_SOLID = 0.45;

export interface Spot {
  readonly mask: Mask; // SPOT_PX square
  readonly step: number; // how much deeper the colour is just inside of the outline than just outside, -255 to 255
  readonly clearness: number; // the step, less what of the outline nobody sees
  readonly contrast: number; // how much deeper it is on the spot than on all the rest
  readonly share: number; // of the field of view
  readonly borderShare: number; // of the outline, that lies at the edge of what is seen
  readonly solidity: number; // share of its upright box that it fills
  readonly score: number;
  readonly count: number; // of spots that stand out like it, itself included
}

const NOTHING: Omit<Spot, "mask"> = {
  step: 0,
  clearness: 0,
  contrast: 0,
  share: 0,
  borderShare: 0,
  solidity: 0,
  score: 0,
  count: 0,
};

const CENTRE_WEIGHT = mapped(SPOT_PX, (y, x) => {
  const away = (2 * x + 1 - SPOT_PX) ** 2 + (2 * y + 1 - SPOT_PX) ** 2;
  return FULL_WEIGHT - Math.floor((FULL_WEIGHT * away) / (2 * (SPOT_PX - 1) ** 2));
});

/** Eight times the grey value, 0 to 2040: two parts of red, five of green, one of blue. */
export function lightOf(small: Pixels): Plane {
  return ofPixels(small, (red, green, blue) => 2 * red + 5 * green + blue);
}

/** All but the dermoscope's black frame, that is, dark parts which hang together with a corner, and their dusk. */
export function fieldOfView(light: Plane): Mask {
  const side = sideOf(light);
  const labels = parts(maskOf(light, (value) => value < BLACK));
  const corners = new Set([0, side - 1, side * (side - 1), side * side - 1].map((at) => labels[at]!));
  const frame = maskOf(labels, (label) => label > 0 && corners.has(label));
  const seen = not(grown(frame, FRAME_DUSK_PX));
  return total(seen) >= LEAST_SEEN * seen.length ? seen : seen.fill(1);
}

/** Of the parts above each level of depth the middle one; of those the one with the best step, size and place. */
export function findSpot(small: Pixels, view: Mask): Spot {
  const { depth, seen } = spotDepth(small, view);
  let best: Spot = { mask: new Uint8Array(seen.length), ...NOTHING };
  let bestLevel = 0;
  for (const level of total(seen) > 0 ? levelsOf(depth, seen) : []) {
    const labels = parts(
      both(
        maskOf(depth, (value) => value > level),
        seen,
      ),
    );
    const middle = middlePart(labels);
    if (middle === 0) break; // nothing is so deep
    const spot = described(filled(maskOf(labels, (label) => label === middle)), depth, seen);
    if (spot.score > best.score) [best, bestLevel] = [spot, level];
  }
  if (best.score === 0) return best;
  const deep = both(
    maskOf(depth, (value) => value > bestLevel),
    seen,
  );
  return { ...best, count: 1 + othersBeside(best, deep, depth, seen) };
}

/** How deep the colour is, 0 to 255, without hair and smoothed, and what is seen of it; SPOT_PX square. */
function spotDepth(small: Pixels, view: Mask): { depth: Plane; seen: Mask } {
  const raw = ofPixels(
    small,
    (red, green, blue) => 255 - (Math.min(Math.max(green + 2 * blue - red + 128, 0), 1020) >> 2),
  );
  const bare = highest(lowest(raw, HAIR_PX), HAIR_PX);
  const number = fours(view);
  const seen = maskOf(number, (count) => count >= 3);
  let depth = fours(times(bare, view)).map((sum, at) => Math.floor(sum / Math.max(number[at]!, 1)));
  const around = boxSums(seen, 1).map((count) => Math.max(count, 1));
  for (let turn = 0; turn < 2; turn++) {
    depth = boxSums(times(depth, seen), 1).map((sum, at) => Math.floor(sum / around[at]!));
  }
  return { depth: times(depth, seen), seen };
}

/** All about a part but the count; zeros where it is a speck or nothing is beside it. */
function described(part: Mask, depth: Plane, seen: Mask): Spot {
  const mask = both(part, seen);
  const inner = both(mask, not(shrunk(mask, RIM_PX)));
  const outer = both(both(grown(mask, RIM_PX), not(mask)), seen);
  const size = total(mask);
  if (size < LEAST_SPOT_PX || total(outer) === 0) return { mask, ...NOTHING };
  const mean = (ring: Mask) => total(times(depth, ring)) / total(ring);
  const step = mean(inner) - mean(outer);
  const rim = both(mask, not(shrunk(mask, 1, false)));
  const borderShare = total(both(rim, not(shrunk(seen, 1, false)))) / total(rim);
  const share = size / total(seen);
  const middle = total(times(CENTRE_WEIGHT, mask)) / (size * FULL_WEIGHT);
  const clearness = step * (1 - borderShare);
  const contrast = mean(mask) - mean(both(seen, not(mask)));
  const score = Math.max(clearness - FAINT, 0) * share * middle * middle * middle;
  return { mask, step, clearness, contrast, share, borderShare, solidity: solidityOf(mask), score, count: 0 };
}

function ofPixels({ data, width, height }: Pixels, value: (red: number, green: number, blue: number) => number): Plane {
  const plane = new Int32Array(width * height);
  for (let at = 0; at < plane.length; at++) plane[at] = value(data[3 * at]!, data[3 * at + 1]!, data[3 * at + 2]!);
  return plane;
}

function fours(plane: Plane | Mask): Plane {
  const side = sideOf(plane);
  return mapped(side / 2, (y, x) => {
    const at = 2 * y * side + 2 * x;
    return plane[at]! + plane[at + 1]! + plane[at + side]! + plane[at + side + 1]!;
  });
}

/** Rising, none twice. */
function levelsOf(depth: Plane, seen: Mask): number[] {
  const counts = new Int32Array(256);
  depth.forEach((value, at) => (counts[value]! += seen[at]!));
  for (let value = 1; value < 256; value++) counts[value]! += counts[value - 1]!;
  const all = counts[255]!;
  const rank = (share: number) => counts.findIndex((count) => count >= share * all);
  const [low, high] = [rank(SKIN_SHARE), rank(TOP_SHARE)];
  const levels = Array.from({ length: LEVELS - 1 }, (_, k) => low + Math.floor(((high - low) * (k + 1)) / LEVELS));
  return [...new Set(levels)].sort((a, b) => a - b);
}

/** The one with the most weight, the fourth power of the pixels' centre weights; of equal ones the first. 0: none. */
function middlePart(labels: Plane): number {
  const mass: number[] = [];
  labels.forEach((label, at) => (mass[label] = (mass[label] ?? 0) + CENTRE_WEIGHT[at]! ** 4));
  mass[0] = 0;
  return mass.reduce((best, weight, label) => (best === 0 || weight > mass[best]! ? label : best), 0);
}

/** How many further parts at the best spot's level look like lesions beside it. */
function othersBeside(best: Spot, deep: Mask, depth: Plane, seen: Mask): number {
  const labels = parts(both(deep, not(grown(best.mask, APART_PX))));
  const sizes: number[] = [];
  labels.forEach((label) => (sizes[label] = (sizes[label] ?? 0) + 1));
  const least = OTHER_SHARE * total(best.mask);
  return sizes.filter((size, label) => {
    if (label === 0 || size < least) return false;
    const other = described(filled(maskOf(labels, (value) => value === label)), depth, seen);
    return other.step >= OTHER_STEP * best.step && other.borderShare <= OTHER_BORDER && other.solidity >= OTHER_SOLID;
  }).length;
}

/** Share of its upright box that a part fills. */
function solidityOf(mask: Mask): number {
  const side = sideOf(mask);
  let [top, bottom, left, right, size] = [side, -1, side, -1, 0];
  mask.forEach((inside, at) => {
    if (!inside) return;
    const [y, x] = [Math.floor(at / side), at % side];
    [top, bottom, left, right] = [Math.min(top, y), Math.max(bottom, y), Math.min(left, x), Math.max(right, x)];
    size++;
  });
  return size / ((bottom - top + 1) * (right - left + 1));
}
