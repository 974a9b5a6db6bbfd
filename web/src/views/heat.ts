/** The photo with the heat map over it, a slider for the map's strength, and a legend. */

import { el } from "../dom";
import { context } from "../decode";
import { blueToRed, heatPicture, largest } from "../heat";
import { strings } from "../strings";
import type { About, Heat } from "../types";

const START = 60; // percent of the map's own opacity

export function heatFigure(photo: HTMLCanvasElement, heat: Heat, about: About): HTMLElement {
  const words = strings.result;
  const over = heatCanvas(heat, about, photo.width);
  over.classList.add("over");
  const show = (percent: number) => (over.style.opacity = String(percent / 100));
  const slider = el("input", { type: "range", id: "heat-strength", min: 0, max: 100, step: 5, value: START });
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(START);
  photo.setAttribute("aria-hidden", "true");
  over.setAttribute("aria-hidden", "true");
  return el(
    "figure",
    { class: "heat" },
    el("div", { class: "layers", role: "img", "aria-label": words.heat_picture }, photo, over),
    el(
      "figcaption",
      {},
      el("h2", {}, words.heat_title),
      el("div", { class: "field" }, el("label", { for: "heat-strength" }, words.heat_strength), slider),
      legend(),
      el("p", { class: "muted" }, largest(heat) > 0 ? words.heat_note : words.heat_empty),
    ),
  );
}

/** The heat map alone: coloured, see-through where there is no heat. */
export function heatCanvas(
  heat: Heat,
  about: Pick<About, "preprocessing" | "cam_maximum">,
  side: number,
): HTMLCanvasElement {
  const canvas = el("canvas", { width: side, height: side });
  const pixels = heatPicture(heat, about.preprocessing, about.cam_maximum, side);
  context(canvas).putImageData(new ImageData(pixels, side, side), 0, 0);
  return canvas;
}

function legend(): HTMLElement {
  const words = strings.result;
  const bar = el("canvas", { width: 256, height: 1, class: "bar", "aria-hidden": "true" });
  const pixels = Uint8ClampedArray.from({ length: 4 * 256 }, (_, at) => {
    const level = Math.floor(at / 4) / 255;
    return 255 * ([...blueToRed(level), level][at % 4] ?? 0);
  });
  context(bar).putImageData(new ImageData(pixels, 256, 1), 0, 0);
  return el(
    "div",
    { class: "legend" },
    el("p", {}, words.heat_legend),
    bar,
    el("div", { class: "ends" }, el("span", {}, words.heat_least), el("span", {}, words.heat_most)),
  );
}
