/** Below a result: keep it under a mole's name. */

import { say, warn } from "../app";
import { toJpeg } from "../decode";
import { button, el, link, replace } from "../dom";
import { addMole, addVisit, askToKeep, moles, type Mole } from "../store";
import { strings } from "../strings";
import type { About, Screening } from "../types";
import { checkedCanvas } from "./crop";

const KEPT_SIDE = 800; // of the kept photo, in pixels
const NEW = "new";

interface Form {
  readonly node: HTMLElement;
  readonly which: HTMLSelectElement;
  readonly name: HTMLInputElement;
  known: readonly Mole[];
}

export function saveForm(screening: Screening, about: About): HTMLElement {
  const words = strings.result;
  const which = el("select", { id: "mole" });
  const name = el("input", {
    id: "mole-name",
    type: "text",
    maxlength: 60,
    autocomplete: "off",
    placeholder: words.save_name_example,
  });
  const named = el("div", { class: "field" }, el("label", { for: "mole-name" }, words.save_name), name);
  const chosen = el("div", { class: "field" }, el("label", { for: "mole" }, words.save_mole), which);
  const node = el("section", { class: "card save" });
  const form: Form = { node, which, name, known: [] };
  const save = () => void saved(form, screening, about);
  const fields = el("div", { class: "fields" }, chosen, named, button(words.save, "plain", save));
  node.append(el("h2", {}, words.save_title), el("p", {}, words.save_lead), fields);
  which.addEventListener("change", () => (named.hidden = which.value !== NEW));
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter") save();
  });
  void offerKnown(form, chosen, named);
  return node;
}

/** Moles that have a history already; without any, only a new name is asked for. */
async function offerKnown(form: Form, chosen: HTMLElement, named: HTMLElement): Promise<void> {
  chosen.hidden = true;
  try {
    form.known = await moles();
  } catch {
    return; // said when it is to be saved
  }
  const options = form.known.map((mole) => el("option", { value: mole.id }, mole.name));
  replace(form.which, options, el("option", { value: NEW }, strings.result.save_new));
  chosen.hidden = options.length === 0;
  named.hidden = options.length > 0;
}

async function saved({ node, which, name, known }: Form, screening: Screening, about: About): Promise<void> {
  const words = strings.result;
  const wish = name.value.trim();
  const isNew = which.value === NEW || known.length === 0;
  const old = known.find((mole) => (isNew ? mole.name === wish : mole.id === which.value));
  if (!old && !wish) {
    warn(words.save_name_missing);
    name.focus();
    return;
  }
  try {
    const mole = old ?? (await addMole(wish));
    await keep(mole, screening, about);
    const open = link(words.saved_open, `#/mole/${mole.id}`, "");
    const done = el("p", { class: "done", tabindex: -1 }, words.saved(mole.name), " ", open);
    replace(node, el("h2", {}, words.save_title), done);
    done.focus();
    say(words.saved(mole.name));
  } catch {
    warn(words.save_failed);
  }
}

async function keep(mole: Mole, screening: Screening, about: About): Promise<void> {
  const canvas = checkedCanvas(KEPT_SIDE);
  if (!canvas) throw new Error("the photo is gone");
  const photo = await (await toJpeg(canvas)).arrayBuffer();
  const model = { name: about.name, title: about.title, sha256: about.onnx.sha256, demo: about.demo };
  await addVisit({
    mole: mole.id,
    photo,
    screening,
    model,
    heat: { preprocessing: about.preprocessing, cam_maximum: about.cam_maximum },
  });
  askToKeep();
}
