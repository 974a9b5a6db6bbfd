/** The app's icon, drawn from its formula: a lens over an irregular spot. Once as SVG, once as PNG at the sizes asked for. */

import { crc32, deflateSync } from "node:zlib";

const TEAL = [10, 95, 115] as const;
const LENS = [243, 232, 222] as const;
const RIM = [255, 255, 255] as const;
const SPOT = [122, 70, 48] as const;
const CORE = [74, 38, 30] as const;
type Colour = readonly [number, number, number];

/** A closed curve around (x, y): radius as a function of the angle, in shares of the icon's side. */
interface Blob {
  readonly x: number;
  readonly y: number;
  readonly radius: (angle: number) => number;
}

const wave =
  (base: number, ...waves: [times: number, size: number, turn: number][]) =>
  (angle: number) =>
    base * (1 + waves.reduce((sum, [times, size, turn]) => sum + size * Math.cos(times * angle + turn), 0));

/** From back to front. `scale` draws all of it smaller, for masks that cut the icon's rim. */
function shapes(scale: number): [Blob, Colour][] {
  const at = (x: number, y: number, radius: (angle: number) => number): Blob => ({
    x: 0.5 + scale * (x - 0.5),
    y: 0.5 + scale * (y - 0.5),
    radius: (angle) => scale * radius(angle),
  });
  return [
    [at(0.5, 0.5, wave(0.39)), RIM],
    [at(0.5, 0.5, wave(0.345)), LENS],
    [at(0.49, 0.51, wave(0.205, [2, 0.1, 0.6], [3, 0.09, 1.9], [5, 0.05, 0.4])), SPOT],
    [at(0.455, 0.475, wave(0.095, [2, 0.16, 2.2], [3, 0.12, 0.3])), CORE],
  ];
}

export function svgIcon(): string {
  const paths = shapes(1).map(([shape, colour]) => `<path fill="${hex(colour)}" d="${outline(shape, 64)}"/>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="${hex(TEAL)}"/>${paths.join("")}</svg>`;
}

function hex(colour: Colour): string {
  return `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function outline({ x, y, radius }: Blob, side: number): string {
  const points = Array.from({ length: 72 }, (_, step) => {
    const angle = (step / 72) * 2 * Math.PI;
    return [x + radius(angle) * Math.cos(angle), y + radius(angle) * Math.sin(angle)]
      .map((part) => (side * part).toFixed(2))
      .join(" ");
  });
  return `M${points.join("L")}Z`;
}

/** The start view's picture: the spot under a dermatoscope's glass with its scale of millimetres, and the crop frame. */
export function lensPicture(): string {
  const circle = (radius: number, style: string) => `<circle cx="160" cy="160" r="${radius}" ${style}/>`;
  const ticks = Array.from({ length: 72 }, (_, step) => {
    const angle = (step / 72) * 2 * Math.PI;
    const [from, to] = [139, step % 6 === 0 ? 123 : 131];
    const end = (radius: number) =>
      `${(160 + radius * Math.cos(angle)).toFixed(1)} ${(160 + radius * Math.sin(angle)).toFixed(1)}`;
    return `M${end(from)}L${end(to)}`;
  });
  const skin: Blob[] = [
    [0.24, 0.36, 9],
    [0.74, 0.3, 6],
    [0.31, 0.72, 7],
    [0.7, 0.69, 10],
  ].map(([x, y, seed]) => ({
    x: x!,
    y: y!,
    radius: wave(0.006 + seed! / 1500, [2, 0.2, seed!], [3, 0.1, 1]),
  }));
  const drawn = (shape: Blob, colour: string) => `<path fill="${colour}" d="${outline(shape, 320)}"/>`;
  const [, , spot, core] = shapes(1.12);
  const corner = "M84 112V84H112M208 84H236V112M236 208V236H208M112 236H84V208";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320">`,
    circle(156, `fill="${hex(TEAL)}"`) + circle(143, `fill="${hex(LENS)}"`),
    `<path d="${ticks.join("")}" stroke="#8d7466" stroke-width="1.6" fill="none"/>`,
    ...skin.map((shape) => drawn(shape, "#d9bda9")),
    drawn(spot![0], hex(SPOT)) + drawn(core![0], hex(CORE)),
    `<path d="${corner}" stroke="${hex(TEAL)}" stroke-width="5" stroke-linecap="round" stroke-linejoin="round" fill="none"/></svg>`,
  ].join("");
}

/** `maskable`: no rounded corners, and everything within the inner 80 % that every mask leaves. */
export function pngIcon(side: number, maskable: boolean): Uint8Array {
  const finer = 4; // samples a pixel, in each direction
  const layers = shapes(maskable ? 0.8 : 1);
  const rows = Buffer.alloc(side * (1 + 4 * side));
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const pixel = [0, 0, 0, 0];
      for (let sample = 0; sample < finer * finer; sample++) {
        const x = (column + ((sample % finer) + 0.5) / finer) / side;
        const y = (row + (Math.floor(sample / finer) + 0.5) / finer) / side;
        if (!maskable && outsideCorners(x, y)) continue;
        colourAt(layers, x, y).forEach((part, channel) => (pixel[channel]! += part));
        pixel[3]! += 1;
      }
      const [red, green, blue, inside] = pixel as [number, number, number, number];
      const share = Math.max(inside, 1);
      rows.set(
        [red / share, green / share, blue / share, (255 * inside) / (finer * finer)].map(Math.round),
        row * (1 + 4 * side) + 1 + 4 * column,
      );
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 6], 8); // 8 bits, RGB with opacity
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function colourAt(layers: [Blob, Colour][], x: number, y: number): Colour {
  const over = layers.filter(
    ([shape]) => Math.hypot(x - shape.x, y - shape.y) <= shape.radius(Math.atan2(y - shape.y, x - shape.x)),
  );
  return over.at(-1)?.[1] ?? TEAL;
}

function outsideCorners(x: number, y: number): boolean {
  const corner = 14 / 64;
  const deep = (part: number) => Math.max(corner - part, part - (1 - corner), 0);
  return Math.hypot(deep(x), deep(y)) > corner;
}

function chunk(kind: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind, "latin1"), data]);
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.set(body, 4);
  out.writeUInt32BE(crc32(body), 8 + data.length);
  return out;
}
