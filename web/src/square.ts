/** The crop frame's arithmetic, in pixels of the photo. Every result lies whole inside the photo. */

import type { Square } from "./decode";

export interface Size {
  readonly width: number;
  readonly height: number;
}

export type Corner = "nw" | "ne" | "sw" | "se";

/** The largest square, in the middle. */
export function largestSquare({ width, height }: Size): Square {
  const side = Math.min(width, height);
  return { left: Math.floor((width - side) / 2), top: Math.floor((height - side) / 2), side };
}

/** The smallest frame: a twentieth of the photo's shorter side, yet 16 pixels where there are so many. */
export function smallestSide({ width, height }: Size): number {
  const most = Math.min(width, height);
  return Math.min(Math.max(Math.round(most / 20), 16), most);
}

export function moved(square: Square, right: number, down: number, photo: Size): Square {
  return {
    left: clip(Math.round(square.left + right), 0, photo.width - square.side),
    top: clip(Math.round(square.top + down), 0, photo.height - square.side),
    side: square.side,
  };
}

/** Another size around the same middle. */
export function resized(square: Square, side: number, photo: Size): Square {
  const fit = clip(Math.round(side), smallestSide(photo), Math.min(photo.width, photo.height));
  const shift = (square.side - fit) / 2;
  return moved({ ...square, side: fit }, shift, shift, photo);
}

/** A corner pulled to a point of the photo; the opposite corner stays. */
export function pulled(square: Square, corner: Corner, x: number, y: number, photo: Size): Square {
  const west = corner === "nw" || corner === "sw";
  const north = corner === "nw" || corner === "ne";
  const fixedX = west ? square.left + square.side : square.left;
  const fixedY = north ? square.top + square.side : square.top;
  const room = Math.min(west ? fixedX : photo.width - fixedX, north ? fixedY : photo.height - fixedY);
  const wish = Math.max(west ? fixedX - x : x - fixedX, north ? fixedY - y : y - fixedY);
  const side = clip(Math.round(wish), Math.min(smallestSide(photo), room), room);
  return { left: west ? fixedX - side : fixedX, top: north ? fixedY - side : fixedY, side };
}

function clip(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
