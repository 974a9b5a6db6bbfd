/** The second view: a square frame on the spot, by finger, mouse or keyboard. */

import { go, goInstead, heading, knowModel, say, warn, work, type View } from "../app";
import { context, regionPixels, squareCanvas, type Square } from "../decode";
import { button, el } from "../dom";
import { loadModel, screen } from "../screener";
import { largestSquare, moved, pulled, resized, smallestSide, type Corner } from "../square";
import { strings } from "../strings";

const SHOWN_SIDE = 1600; // of the picture on the page; larger ones are drawn smaller
const PREVIEW_SIDE = 224;
const CORNERS: readonly Corner[] = ["nw", "ne", "sw", "se"];

interface Frame {
  readonly photo: ImageBitmap;
  readonly stage: HTMLElement;
  readonly box: HTMLElement;
  readonly size: HTMLInputElement;
  readonly preview: HTMLCanvasElement;
  square: Square;
}

export function cropView(): View {
  const words = strings.crop;
  const photo = work.photo;
  if (!photo) {
    void goInstead("#/");
    return { title: "", node: el("div") };
  }
  const frame = newFrame(photo);
  const check = button(words.check, "main", () => void checkSpot(frame, check));
  const node = el(
    "section",
    { class: "crop-view" },
    heading(words.title),
    el("p", { class: "muted", id: "crop-hint" }, words.hint),
    el(
      "div",
      { class: "crop-columns" },
      frame.stage,
      el("div", { class: "crop-side" }, sizeControl(frame), previewOf(frame)),
    ),
    el(
      "div",
      { class: "row actions" },
      check,
      button(words.other, "plain", () => go("#/")),
    ),
  );
  // Set after it is laid out, since places are shares of the stage.
  requestAnimationFrame(() => place(frame, frame.square));
  return { title: words.title, node };
}

function newFrame(photo: ImageBitmap): Frame {
  const words = strings.crop;
  const canvas = shownPhoto(photo);
  const box = el("div", {
    class: "box",
    role: "application",
    tabindex: 0,
    "aria-label": words.frame,
    "aria-describedby": "crop-help crop-state",
  });
  for (const corner of CORNERS) box.append(el("span", { class: `corner ${corner}`, "data-corner": corner }));
  const stage = el(
    "div",
    { class: "stage" },
    canvas,
    el("div", { class: "shade" }, el("div", { class: "hole" })), // apart from the box, whose corners reach beyond the photo
    box,
    el("p", { class: "hidden", id: "crop-help" }, words.frame_help),
    el("p", { class: "hidden", id: "crop-state", "aria-live": "polite" }),
  );
  stage.style.aspectRatio = `${photo.width} / ${photo.height}`;
  stage.style.setProperty("--shape", String(photo.width / photo.height));
  const size = el("input", {
    type: "range",
    id: "crop-size",
    min: smallestSide(photo),
    max: Math.min(photo.width, photo.height),
    step: 1,
  });
  const preview = el("canvas", { width: PREVIEW_SIDE, height: PREVIEW_SIDE, role: "img", "aria-label": words.preview });
  const frame: Frame = { photo, stage, box, size, preview, square: work.square ?? largestSquare(photo) };
  size.addEventListener("input", () => place(frame, resized(frame.square, Number(size.value), photo)));
  box.addEventListener("keydown", (event) => key(frame, event));
  followPointers(frame);
  return frame;
}

function shownPhoto(photo: ImageBitmap): HTMLCanvasElement {
  const shrink = Math.min(1, SHOWN_SIDE / Math.max(photo.width, photo.height));
  const canvas = el("canvas", {
    width: Math.max(Math.round(photo.width * shrink), 1),
    height: Math.max(Math.round(photo.height * shrink), 1),
    "aria-hidden": "true",
  });
  const draw = context(canvas);
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, canvas.width, canvas.height);
  draw.drawImage(photo, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function sizeControl(frame: Frame): HTMLElement {
  const words = strings.crop;
  return el(
    "div",
    { class: "field" },
    el("label", { for: "crop-size" }, words.size),
    frame.size,
    button(words.whole, "quiet", () => place(frame, largestSquare(frame.photo))),
  );
}

function previewOf(frame: Frame): HTMLElement {
  return el("figure", { class: "preview" }, frame.preview, el("figcaption", {}, strings.crop.preview));
}

/** Shows the frame where it now is. */
function place(frame: Frame, square: Square): void {
  const { photo, size, preview, stage } = frame;
  frame.square = work.square = square;
  const share = (name: string, pixels: number, all: number) =>
    stage.style.setProperty(name, `${(100 * pixels) / all}%`);
  share("--left", square.left, photo.width);
  share("--top", square.top, photo.height);
  share("--wide", square.side, photo.width);
  share("--high-side", square.side, photo.height);
  size.value = String(square.side);
  const state = stage.querySelector("#crop-state");
  if (state) state.textContent = strings.crop.frame_state(square.left, square.top, square.side);
  context(preview).drawImage(
    photo,
    square.left,
    square.top,
    square.side,
    square.side,
    0,
    0,
    PREVIEW_SIDE,
    PREVIEW_SIDE,
  );
}

function key(frame: Frame, event: KeyboardEvent): void {
  const { photo, square } = frame;
  const step = Math.max(Math.min(photo.width, photo.height) * (event.shiftKey ? 0.1 : 0.02), 1);
  const ways: Record<string, [number, number]> = {
    ArrowLeft: [-step, 0],
    ArrowRight: [step, 0],
    ArrowUp: [0, -step],
    ArrowDown: [0, step],
  };
  const way = ways[event.key];
  if (way) place(frame, moved(square, ...way, photo));
  else if (event.key === "+" || event.key === "=") place(frame, resized(square, square.side + 2 * step, photo));
  else if (event.key === "-" || event.key === "_") place(frame, resized(square, square.side - 2 * step, photo));
  else return;
  event.preventDefault();
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** One pointer moves the frame or pulls a corner; two pinch it. All is reckoned from where the gesture began. */
function followPointers(frame: Frame): void {
  const { stage, photo } = frame;
  const begun = new Map<number, Point>();
  const now = new Map<number, Point>();
  let from = frame.square;
  let corner: Corner | undefined;
  const begin = () => {
    from = frame.square;
    for (const [pointer, point] of now) begun.set(pointer, point);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    now.set(event.pointerId, onPhoto(event, frame));
    corner = now.size === 1 ? ((event.target as HTMLElement).dataset["corner"] as Corner | undefined) : undefined;
    begin();
  });
  stage.addEventListener("pointermove", (event) => {
    const start = begun.get(event.pointerId);
    if (!start) return;
    const point = onPhoto(event, frame);
    now.set(event.pointerId, point);
    if (now.size > 1) place(frame, resized(from, (from.side * spread(now)) / Math.max(spread(begun), 1), photo));
    else if (corner) place(frame, pulled(from, corner, point.x, point.y, photo));
    else place(frame, moved(from, point.x - start.x, point.y - start.y, photo));
  });
  for (const end of ["pointerup", "pointercancel"] as const) {
    stage.addEventListener(end, (event) => {
      now.delete(event.pointerId);
      begun.delete(event.pointerId);
      begin();
    });
  }
}

function onPhoto(event: PointerEvent, { stage, photo }: Frame): Point {
  const area = stage.getBoundingClientRect();
  return {
    x: ((event.clientX - area.left) / area.width) * photo.width,
    y: ((event.clientY - area.top) / area.height) * photo.height,
  };
}

function spread(points: ReadonlyMap<number, Point>): number {
  const [a, b] = [...points.values()];
  return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
}

async function checkSpot(frame: Frame, check: HTMLButtonElement): Promise<void> {
  const { photo, square } = frame;
  check.disabled = true;
  say(strings.crop.checking);
  try {
    knowModel(await loadModel());
    work.screening = await screen(regionPixels(photo, square.left, square.top, square.side, square.side));
    go("#/result");
  } catch (error) {
    warn(strings.crop.failed(error instanceof Error ? error.message : String(error)));
    check.disabled = false;
  }
}

/** The square that was checked, as a picture of at most `most` pixels a side. */
export function checkedCanvas(most: number): HTMLCanvasElement | null {
  const { photo, square } = work;
  return photo && square ? squareCanvas(photo, square, Math.min(square.side, most)) : null;
}
