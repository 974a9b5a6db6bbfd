/** All moles of this browser; export, import and delete all. */

import { heading, say, warn, type View } from "../app";
import { button, confirmed, download, el, link, picture, replace, type Child } from "../dom";
import { exported } from "../export";
import { BadImportError, imported } from "../import";
import { askToKeep, moles, removeAll, visits, type Mole, type Visit } from "../store";
import { dayText, strings } from "../strings";

export async function historyView(): Promise<View> {
  const words = strings.history;
  const list = el("div", { class: "moles" });
  const node = el("section", { class: "history" }, heading(words.title), el("p", { class: "lead" }, words.lead), list);
  await fill(list);
  return { title: words.title, node };
}

/** What is kept now, or that it cannot be read. */
async function fill(list: HTMLElement): Promise<void> {
  await draw(list).catch(() => replace(list, el("p", { class: "problem" }, strings.history.failed)));
}

async function draw(list: HTMLElement): Promise<void> {
  const [all, photos] = await Promise.all([moles(), visits()]);
  if (all.length === 0)
    return replace(
      list,
      el("p", { class: "empty" }, strings.history.empty),
      el("div", { class: "row" }, link(strings.start.title, "#/", "button main"), importer(list)),
      el("p", { class: "muted" }, strings.history.import_hint),
    );
  replace(
    list,
    el(
      "ul",
      { class: "mole-list" },
      all.map((mole) =>
        moleItem(
          mole,
          photos.filter((visit) => visit.mole === mole.id),
        ),
      ),
    ),
    controls(list),
  );
}

function moleItem(mole: Mole, photos: readonly Visit[]): HTMLElement {
  const words = strings.history;
  const [newest] = photos;
  const line: Child = [words.photos(photos.length), newest ? `, ${words.latest(dayText(newest.taken))}` : null];
  return el(
    "li",
    {},
    el(
      "a",
      { href: `#/mole/${mole.id}` },
      newest ? picture(newest.photo, "") : el("span", { class: "no-photo" }),
      el("span", {}, el("strong", {}, mole.name), el("span", { class: "muted" }, line)),
    ),
  );
}

function controls(list: HTMLElement): HTMLElement {
  const words = strings.history;
  const save = async (): Promise<void> => {
    try {
      download(await exported(), words.download(new Date().toISOString().slice(0, 10)));
      say(words.exported);
    } catch (error) {
      warn(error instanceof RangeError ? words.too_large : words.failed);
    }
  };
  const clear = async (): Promise<void> => {
    if (!(await confirmed(words.delete_all_sure, strings.ask.yes, strings.ask.no))) return;
    try {
      await removeAll();
      await fill(list);
      say(words.deleted_all);
      document.querySelector<HTMLElement>("h1")?.focus();
    } catch {
      warn(words.failed);
    }
  };
  return el(
    "div",
    { class: "row actions" },
    button(words.export, "plain", () => void save()),
    importer(list),
    button(words.delete_all, "danger", () => void clear()),
  );
}

/** A button that opens the file dialog. */
function importer(list: HTMLElement): HTMLElement {
  const words = strings.history;
  const input = el("input", { type: "file", accept: ".zip,application/zip", hidden: true });
  const open = button(words.import, "plain", () => input.click());
  let reading = false;
  const read = async (file: File): Promise<void> => {
    if (reading) return;
    reading = true;
    say(words.importing);
    try {
      const added = await imported(file);
      askToKeep();
      await fill(list);
      say(words.imported(added.photos, added.moles));
      if (list.isConnected) document.querySelector<HTMLElement>("h1")?.focus();
    } catch (error) {
      warn(error instanceof BadImportError ? words.bad_import[error.reason] : words.import_failed);
    } finally {
      reading = false;
    }
  };
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    input.value = ""; // the same file may be chosen again
    if (file) void read(file);
  });
  return el("span", {}, open, input);
}
