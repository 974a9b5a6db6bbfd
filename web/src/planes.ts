/** Square planes of whole numbers, and masks of 0 and 1: windows and parts, as `lentigo.deploy.lesion_spot` has them. */

export type Plane = Int32Array; // row by row
export type Mask = Uint8Array; // 1 inside, 0 outside

export function sideOf(plane: Plane | Mask): number {
  return Math.sqrt(plane.length);
}

/** Sum over the square of 2 * reach + 1 pixels around each; beyond the plane all is 0. */
export function boxSums(plane: Plane | Mask, reach: number): Plane {
  const side = sideOf(plane);
  const wide = side + 1;
  const sums = new Int32Array(wide * wide); // of everything above and to the left
  for (let y = 0; y < side; y++) {
    let line = 0;
    for (let x = 0; x < side; x++) {
      line += plane[y * side + x]!;
      sums[(y + 1) * wide + x + 1] = sums[y * wide + x + 1]! + line;
    }
  }
  return mapped(side, (y, x) => {
    const top = Math.max(y - reach, 0) * wide;
    const bottom = Math.min(y + reach + 1, side) * wide;
    const left = Math.max(x - reach, 0);
    const right = Math.min(x + reach + 1, side);
    return sums[bottom + right]! - sums[top + right]! - sums[bottom + left]! + sums[top + left]!;
  });
}

/** Greatest value in the square of 2 * reach + 1 pixels around each, as far as it lies in the plane. */
export function highest(plane: Plane, reach: number): Plane {
  const side = sideOf(plane);
  const along = mapped(side, (y, x) => greatest(plane, y * side, 1, x, reach, side));
  return mapped(side, (y, x) => greatest(along, x, side, y, reach, side));
}

export function lowest(plane: Plane, reach: number): Plane {
  return highest(
    plane.map((value) => -value),
    reach,
  ).map((value) => -value);
}

/** With all pixels that are at most so far from it, to the side or upwards. */
export function grown(mask: Mask, by: number): Mask {
  return maskOf(boxSums(mask, by), (sum) => sum > 0);
}

/** Without all pixels that are at most so far from its outside; `beyond`: it goes on beyond the picture's edge. */
export function shrunk(mask: Mask, by: number, beyond = true): Mask {
  if (beyond) return not(grown(not(mask), by));
  const whole = (2 * by + 1) ** 2;
  return maskOf(boxSums(mask, by), (sum) => sum === whole);
}

/** 0 outside; 1, 2, ... in the parts that hang together by pixels' sides, counted as one reads: row by row. */
export function parts(mask: Mask): Plane {
  const side = sideOf(mask);
  const labels = new Int32Array(mask.length);
  let count = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++count;
    const open = [start];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const x = at % side;
      for (const next of [x > 0 ? at - 1 : -1, x < side - 1 ? at + 1 : -1, at - side, at + side]) {
        if (mask[next] && !labels[next]) {
          labels[next] = count;
          open.push(next);
        }
      }
    }
  }
  return labels;
}

/** With its holes: what does not hang together with the picture's edge outside of it. */
export function filled(mask: Mask): Mask {
  const side = sideOf(mask);
  const outside = parts(not(mask));
  const air = new Set<number>();
  for (let at = 0; at < side; at++) {
    for (const edge of [at, (side - 1) * side + at, at * side, at * side + side - 1]) air.add(outside[edge]!);
  }
  return maskOf(outside, (label) => label === 0 || !air.has(label));
}

export function maskOf(plane: Plane, inside: (value: number) => boolean): Mask {
  const mask = new Uint8Array(plane.length); // Uint8Array.from with a function takes ten times as long
  for (let at = 0; at < plane.length; at++) if (inside(plane[at]!)) mask[at] = 1;
  return mask;
}

export function not(mask: Mask): Mask {
  return mask.map((inside) => 1 - inside);
}

export function both(one: Mask, other: Mask): Mask {
  return one.map((inside, at) => inside & other[at]!);
}

export function times(plane: Plane, mask: Mask): Plane {
  return plane.map((value, at) => value * mask[at]!);
}

export function total(plane: Plane | Mask): number {
  let sum = 0;
  for (let at = 0; at < plane.length; at++) sum += plane[at]!;
  return sum;
}

export function mapped(side: number, value: (y: number, x: number) => number): Plane {
  const plane = new Int32Array(side * side);
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) plane[y * side + x] = value(y, x);
  return plane;
}

/** Of a line that begins at `start` with `step` between pixels, around its pixel number `middle`. */
function greatest(plane: Plane, start: number, step: number, middle: number, reach: number, side: number): number {
  let most = plane[start + step * middle]!;
  for (let at = Math.max(middle - reach, 0); at <= Math.min(middle + reach, side - 1); at++) {
    most = Math.max(most, plane[start + step * at]!);
  }
  return most;
}
