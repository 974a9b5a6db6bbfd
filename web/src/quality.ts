/** Whether one picture can be screened at all, number by number as `lentigo.deploy.quality`, which says why. */

import { both, boxSums, grown, mapped, not, shrunk, sideOf, total, type Mask, type Plane } from "./planes";
import { squeeze } from "./preprocess";
import { fieldOfView, findSpot, lightOf, WORK_PX } from "./spot";
import type { Finding, FindingName, OutlierLimits, Pixels } from "./types";

/** Where a measure becomes a finding; names and values as in Python, to which a test holds them. */
export const LIMITS = {
  REFUSE_BELOW_PX: 64,
  WARN_BELOW_PX: 200,
  REFUSE_SHARPNESS: 0.23,
  WARN_SHARPNESS: 0.285,
  REFUSE_BRIGHTNESS: 50,
  WARN_BRIGHTNESS: 70,
  WARN_CLIPPED: 0.08,
  REFUSE_CLIPPED: 0.4,
  REFUSE_CLEARNESS: 4,
  WARN_CLEARNESS: 5,
  WARN_BORDER: 0.12,
  CUT_CONTRAST: 20,
  CUT_SOLIDITY: 0.6,
  WARN_HAIR: 0.13,
};

const SHARP_SHARE = 0.98;
const NOISE = 4;
const SHARP_RIM_PX = 6;
const BRIGHT_SHARE = 0.9;
const CLIPPED_FROM = 254;
const HAIR_DEPTH = 96 * 13;
const HAIR_REACH = 6;
const HAIR_RING_PX = [1, 5] as const; // away from the spot
type Step = readonly [down: number, right: number];
const HAIR_LINES: readonly (readonly [line: Step, beside: Step])[] = [
  [
    [0, 2],
    [3, 0],
  ],
  [
    [1, 2],
    [3, -1],
  ],
  [
    [2, 2],
    [2, -2],
  ],
  [
    [2, 1],
    [-1, 3],
  ],
  [
    [2, 0],
    [0, 3],
  ],
  [
    [2, -1],
    [1, 3],
  ],
  [
    [2, -2],
    [2, 2],
  ],
  [
    [-1, 2],
    [3, 1],
  ],
];

export interface Measures {
  readonly shorter_side_px: number;
  readonly sharpness: number; // fine by coarse detail
  readonly brightness: number; // grey value, 0 to 255, that nine tenths of the pixels do not exceed
  readonly clipped_share: number; // of pixels that lost their colour
  readonly lesion_clearness: number; // of the spot's outline
  readonly lesion_contrast: number; // of the spot to all the rest
  readonly lesion_solidity: number; // share of its upright box that the spot fills
  readonly lesion_share: number; // of the field of view
  readonly lesion_border_share: number; // of the outline, at the edge
  readonly lesion_count: number;
  readonly hair_share: number; // of a ring around the spot
}

export interface Quality {
  readonly findings: readonly Finding[];
  readonly measures: Measures;
}

export function checkQuality(image: Pixels): Quality {
  const small = squeeze(image, WORK_PX);
  const light = lightOf(small);
  const seen = fieldOfView(light);
  const spot = findSpot(small, seen);
  const measures = {
    shorter_side_px: Math.min(image.width, image.height),
    sharpness: sharpness(light, seen),
    brightness: rank(light, seen, BRIGHT_SHARE) / 8,
    clipped_share: clippedShare(small, seen),
    lesion_clearness: spot.clearness,
    lesion_contrast: spot.contrast,
    lesion_solidity: spot.solidity,
    lesion_share: spot.share,
    lesion_border_share: spot.borderShare,
    lesion_count: spot.count,
    hair_share: hairShare(light, seen, spot.mask),
  };
  return { findings: findingsOf(measures), measures };
}

export function findingsOf(m: Measures): Finding[] {
  const compact = m.lesion_contrast >= LIMITS.CUT_CONTRAST && m.lesion_solidity >= LIMITS.CUT_SOLIDITY;
  const found: [FindingName, Finding["severity"] | null][] = [
    ["too_small", below(m.shorter_side_px, LIMITS.REFUSE_BELOW_PX, LIMITS.WARN_BELOW_PX)],
    ["blurred", below(m.sharpness, LIMITS.REFUSE_SHARPNESS, LIMITS.WARN_SHARPNESS)],
    ["too_dark", below(m.brightness, LIMITS.REFUSE_BRIGHTNESS, LIMITS.WARN_BRIGHTNESS)],
    ["too_bright", above(m.clipped_share, LIMITS.WARN_CLIPPED, LIMITS.REFUSE_CLIPPED)],
    ["no_lesion", below(m.lesion_clearness, LIMITS.REFUSE_CLEARNESS, LIMITS.WARN_CLEARNESS)],
    ["lesion_cut", above(compact ? m.lesion_border_share : 0, LIMITS.WARN_BORDER, Infinity)],
    ["several_lesions", above(m.lesion_count, 1, Infinity)],
    ["hair", above(m.hair_share, LIMITS.WARN_HAIR, Infinity)],
  ];
  return found.flatMap(([name, severity]) => (severity ? [{ name, severity }] : []));
}

/** Whether the model's own score says that the picture is unlike all it has learned from. */
export function outlierFindings(outlier: number, limits: OutlierLimits): Finding[] {
  if (!Number.isFinite(outlier) || outlier > limits.refuse_above)
    return [{ name: "not_dermoscopy", severity: "refuse" }];
  return outlier > limits.warn_above ? [{ name: "not_dermoscopy", severity: "warn" }] : [];
}

function below(value: number, refuse: number, warn: number): Finding["severity"] | null {
  return value < refuse ? "refuse" : value < warn ? "warn" : null;
}

function above(value: number, warn: number, refuse: number): Finding["severity"] | null {
  return value > refuse ? "refuse" : value > warn ? "warn" : null;
}

function sharpness(light: Plane, seen: Mask): number {
  const inside = shrunk(seen, SHARP_RIM_PX, false);
  if (total(inside) === 0) return 0;
  const [three, five, eleven] = [boxSums(light, 1), boxSums(light, 2), boxSums(light, 5)];
  const fine =
    rank(
      three.map((sum, at) => Math.abs(9 * light[at]! - sum)),
      inside,
      SHARP_SHARE,
    ) / 9;
  const coarse =
    rank(
      five.map((sum, at) => Math.abs(121 * sum - 25 * eleven[at]!)),
      inside,
      SHARP_SHARE,
    ) /
    (25 * 121);
  return coarse > 0 ? Math.max(fine - NOISE, 0) / coarse : 0;
}

/** Of the sorted values inside the mask the one with number share * count, rounded down and counted from 0. */
function rank(values: Plane, inside: Mask, share: number): number {
  const sorted = values.filter((_, at) => inside[at]).sort();
  return sorted[Math.floor(share * sorted.length)] ?? 0;
}

function clippedShare({ data }: Pixels, seen: Mask): number {
  const bright = (at: number) => (data[at]! >= CLIPPED_FROM ? 1 : 0);
  let clipped = 0;
  for (let at = 0; at < seen.length; at++) {
    if (seen[at] && bright(3 * at) + bright(3 * at + 1) + bright(3 * at + 2) >= 2) clipped++;
  }
  return clipped / total(seen);
}

function hairShare(light: Plane, seen: Mask, spot: Mask): number {
  const [near, far] = HAIR_RING_PX;
  const ring = both(grown(spot, far), not(grown(spot, near)));
  const side = sideOf(light);
  const lines = darkLines(light);
  let [around, covered] = [0, 0];
  for (let at = 0; at < light.length; at++) {
    const place = (side / 2) * Math.floor(at / side / 2) + Math.floor((at % side) / 2);
    const inside = ring[place]! & seen[at]!;
    around += inside;
    covered += inside & lines[at]!;
  }
  return around > 0 ? covered / around : 0;
}

/** Where a straight line of 13 pixels is darker than the lines beside it on both sides; its edge's pixels go on. */
function darkLines(light: Plane): Mask {
  const side = sideOf(light);
  const reach = 3;
  const edge = HAIR_REACH + reach;
  const wide = side + 2 * edge;
  const clip = (at: number) => Math.min(Math.max(at - edge, 0), side - 1);
  const padded = mapped(wide, (y, x) => light[clip(y) * side + clip(x)]!);
  const lines = new Uint8Array(light.length);
  for (const [[down, right], [below, beside]] of HAIR_LINES) {
    const steps = Array.from({ length: 2 * HAIR_REACH + 1 }, (_, at) => {
      const t = at - HAIR_REACH;
      return Math.floor((down * t) / 2) * wide + Math.floor((right * t) / 2);
    });
    const sums = lineSums(padded, steps, wide, HAIR_REACH);
    const off = below * wide + beside;
    for (let at = 0; at < light.length; at++) {
      const middle = (edge + Math.floor(at / side)) * wide + edge + (at % side);
      if (Math.min(sums[middle + off]!, sums[middle - off]!) - sums[middle]! > HAIR_DEPTH) lines[at] = 1;
    }
  }
  return lines;
}

/** Sums over the pixels that lie `steps` away from each; 0 within `rim` of the plane's edge. */
function lineSums(plane: Plane, steps: readonly number[], side: number, rim: number): Plane {
  const sums = new Int32Array(plane.length);
  for (const step of steps) {
    for (let y = rim; y < side - rim; y++) {
      const end = (y + 1) * side - rim;
      for (let at = y * side + rim; at < end; at++) sums[at]! += plane[at + step]!;
    }
  }
  return sums;
}
