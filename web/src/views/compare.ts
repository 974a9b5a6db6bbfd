/** Two photos of one mole side by side, the older one first. */

import { heading, type View } from "../app";
import { el, link, picture } from "../dom";
import { moles, visit, type Visit } from "../store";
import { dateText, strings } from "../strings";
import { heatCanvas } from "./heat";
import { resultLine } from "./mole";

const HEAT_SIDE = 320;

export async function compareView(first = "", second = ""): Promise<View> {
  const words = strings.compare;
  const found = (await Promise.all([visit(first), visit(second)])).filter((entry) => entry !== undefined);
  const [old, young] = found.sort((a, b) => a.taken.localeCompare(b.taken));
  const mole = (await moles()).find((entry) => entry.id === old?.mole);
  if (!old || !young || !mole)
    return {
      title: strings.history.title,
      node: el("section", {}, heading(strings.history.title), el("p", { class: "problem" }, strings.mole.missing)),
    };
  const title = words.title(mole.name);
  const days = Math.round((Date.parse(young.taken.slice(0, 10)) - Date.parse(old.taken.slice(0, 10))) / 86_400_000);
  const pair = el("div", { class: "pair" }, shown(old), shown(young));
  const node = el(
    "section",
    { class: "compare" },
    el("p", { class: "back" }, link(words.back, `#/mole/${mole.id}`, "")),
    heading(title),
    pair,
    heatSwitch(pair),
    el("p", {}, el("strong", {}, words.change), " ", words.days(days)),
    el("p", { class: "muted" }, words.lead),
    old.model.sha256 === young.model.sha256 ? null : el("p", { class: "problem" }, words.models),
  );
  return { title, node };
}

function shown(entry: Visit): HTMLElement {
  const { heat } = entry.screening;
  const date = dateText(entry.taken);
  const over = heat ? heatCanvas(heat, entry.heat, HEAT_SIDE) : null;
  over?.setAttribute("aria-hidden", "true");
  over?.classList.add("over");
  return el(
    "figure",
    {},
    el("div", { class: "layers" }, picture(entry.photo, strings.mole.photo(date)), over),
    el("figcaption", {}, el("span", {}, date), el("span", {}, resultLine(entry))),
  );
}

function heatSwitch(pair: HTMLElement): HTMLElement {
  const box = el("input", { type: "checkbox", id: "show-heat" });
  const show = () => pair.classList.toggle("plain", !box.checked);
  box.addEventListener("change", show);
  show();
  return el("label", { class: "choose", for: "show-heat" }, box, strings.compare.heat);
}
