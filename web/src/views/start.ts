/** The first view: where a picture comes from. */

import { go, warn, work, type View } from "../app";
import { BadFileError, decode } from "../decode";
import { button, el, replace } from "../dom";
import { loadModel } from "../screener";
import { strings } from "../strings";

export function startView(): View {
  const words = strings.start;
  const drop = dropArea();
  const paste = (event: ClipboardEvent) => void accept(event.clipboardData?.files[0]);
  addEventListener("paste", paste);
  const node = el(
    "div",
    { class: "start" },
    el(
      "section",
      { class: "intro" },
      el("h1", { tabindex: -1 }, words.title),
      el("img", { src: "./lens.svg", alt: "", class: "lens", width: 320, height: 320 }),
      el("p", { class: "lead" }, words.lead),
      el(
        "div",
        { class: "row actions" },
        button(words.take, "main", () => go("#/camera")),
        filePicker(words.choose, false),
      ),
      el("p", { class: "muted drop-hint" }, words.drop),
      modelState(),
    ),
    el(
      "div",
      { class: "aside" },
      el("section", { class: "card" }, el("h2", {}, words.private_title), el("p", {}, words.private)),
      el(
        "section",
        { class: "card" },
        el("h2", {}, words.tips_title),
        el(
          "ul",
          {},
          words.tips.map((tip) => el("li", {}, tip)),
        ),
      ),
    ),
    drop.cover,
  );
  return {
    title: "",
    node,
    leave: () => {
      removeEventListener("paste", paste);
      drop.leave();
    },
  };
}

/** A button that opens the file dialog, or with `camera` the phone's own camera app. */
export function filePicker(label: string, camera: boolean): HTMLElement {
  const input = el("input", { type: "file", accept: "image/*", hidden: true, capture: camera ? "environment" : false });
  input.addEventListener("change", () => {
    void accept(input.files?.[0]);
    input.value = ""; // the same file may be chosen again
  });
  return el(
    "span",
    {},
    button(label, "plain", () => input.click()),
    input,
  );
}

/** A picture to work on, or the reason why it is none. */
export async function accept(file: File | undefined): Promise<void> {
  if (!file) return warn(strings.no_file);
  try {
    takePhoto(await decode(file));
  } catch (error) {
    warn(error instanceof BadFileError ? strings.bad_file[error.reason] : String(error));
  }
}

export function takePhoto(photo: ImageBitmap): void {
  work.photo?.close();
  Object.assign(work, { photo, square: null, screening: null });
  go("#/crop");
}

function dropArea(): { cover: HTMLElement; leave: () => void } {
  const cover = el("div", { class: "drop", hidden: true }, el("p", {}, strings.start.drop_now));
  const over = (event: DragEvent) => {
    event.preventDefault(); // else the browser opens the file in place of the page
    cover.hidden = event.type !== "dragover";
    if (event.type === "drop") void accept(event.dataTransfer?.files[0]);
  };
  const out = (event: DragEvent) => {
    if (event.relatedTarget === null) cover.hidden = true;
  };
  addEventListener("dragover", over);
  addEventListener("drop", over);
  addEventListener("dragleave", out);
  const leave = () => {
    removeEventListener("dragover", over);
    removeEventListener("drop", over);
    removeEventListener("dragleave", out);
  };
  return { cover, leave };
}

function modelState(): HTMLElement {
  const state = el("div", { class: "model-state", "aria-live": "polite" });
  const load = async (): Promise<void> => {
    replace(state, el("p", { class: "muted" }, strings.start.loading));
    try {
      const about = await loadModel();
      replace(state, el("p", { class: "muted ready" }, strings.start.ready(about.title)));
    } catch (error) {
      const why = strings.start.failed_why(error instanceof Error ? error.message : String(error));
      replace(
        state,
        el("p", { class: "problem" }, el("strong", {}, strings.start.failed), " ", why),
        button(strings.start.retry, "plain", () => void load()),
      );
    }
  };
  void load();
  return state;
}
