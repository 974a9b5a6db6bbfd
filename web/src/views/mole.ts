/** One mole over time: its photos, newest first; two of them can be chosen to see side by side. */

import { go, goInstead, heading, say, warn, type View } from "../app";
import { button, confirmed, el, link, picture, type Child } from "../dom";
import { moles, removeMole, removeVisit, visits, type Mole, type Visit } from "../store";
import { dateText, strings } from "../strings";

export async function moleView(id = ""): Promise<View> {
  const [all, photos] = await Promise.all([moles(), visits(id)]);
  const mole = all.find((entry) => entry.id === id);
  const words = strings.mole;
  const back = el("p", { class: "back" }, link(words.back, "#/history", ""));
  if (!mole)
    return {
      title: strings.history.title,
      node: el("section", {}, back, heading(strings.history.title), el("p", { class: "problem" }, words.missing)),
    };
  const chosen = new Set<string>();
  const lead = photos.length === 0 ? words.empty : photos.length > 1 ? words.lead : null;
  const compare = button(words.compare, "main", () => {
    if (chosen.size === 2) go(`#/compare/${[...chosen].join("/")}`);
    else warn(words.compare_need);
  });
  const node = el(
    "section",
    { class: "mole" },
    back,
    heading(mole.name),
    lead && el("p", { class: "lead" }, lead),
    el(
      "ul",
      { class: "visits" },
      photos.map((visit) => visitItem(visit, photos.length > 1 ? chosen : null)),
    ),
    el(
      "div",
      { class: "row actions" },
      photos.length > 1 && compare,
      button(words.delete, "danger", () => void removed(mole)),
    ),
  );
  return { title: mole.name, node };
}

/** The band and the number of a kept result. */
export function resultLine(visit: Visit): Child {
  const { band, probability } = visit.screening;
  const text =
    probability === null
      ? strings.result.title.refused
      : strings.mole.result(strings.result.title[band], strings.result.probability(probability));
  return [
    el("strong", { class: `band ${band}` }, text),
    visit.model.demo ? el("span", { class: "demo-tag" }, strings.mole.demo) : null,
  ];
}

function visitItem(visit: Visit, chosen: Set<string> | null): HTMLElement {
  const words = strings.mole;
  const date = dateText(visit.taken);
  const box = el("input", { type: "checkbox", id: `choose-${visit.id}` });
  box.addEventListener("change", () => {
    if (box.checked) chosen?.add(visit.id);
    else chosen?.delete(visit.id);
    for (const other of document.querySelectorAll<HTMLInputElement>(".visits input"))
      other.disabled = chosen?.size === 2 && !other.checked;
  });
  const remove = async (): Promise<void> => {
    if (!(await confirmed(words.delete_photo_sure(date), strings.ask.yes, strings.ask.no))) return;
    try {
      await removeVisit(visit.id);
      await goInstead(`#/mole/${visit.mole}`);
      say(words.deleted_photo);
    } catch {
      warn(strings.history.failed);
    }
  };
  return el(
    "li",
    {},
    picture(visit.photo, words.photo(date)),
    el("div", {}, el("p", {}, date), el("p", {}, resultLine(visit))),
    el(
      "div",
      { class: "visit-actions" },
      chosen &&
        el(
          "label",
          { class: "choose", for: box.id },
          box,
          el("span", { "aria-hidden": "true" }, strings.mole.choose_short),
          el("span", { class: "hidden" }, words.choose(date)),
        ),
      button(words.delete_photo, "quiet", () => void remove(), { "aria-label": words.delete_photo_named(date) }),
    ),
  );
}

async function removed(mole: Mole): Promise<void> {
  if (!(await confirmed(strings.mole.delete_sure(mole.name), strings.ask.yes, strings.ask.no))) return;
  try {
    await removeMole(mole.id);
    await goInstead("#/history");
  } catch {
    warn(strings.history.failed);
  }
}
