/** When to see a doctor, what this is, how it works, what it keeps. */

import { heading, work, type View } from "../app";
import { sensitivities } from "../bands";
import { el, type Child } from "../dom";
import { strings } from "../strings";
import type { About } from "../types";

export function aboutView(): View {
  const words = strings.about;
  const { about } = work;
  const node = el(
    "article",
    { class: "about" },
    heading(words.title),
    el(
      "section",
      { class: "card doctor" },
      el("h2", { id: "doctor", tabindex: -1 }, words.doctor_title),
      el("p", {}, words.doctor_lead),
      el(
        "ul",
        {},
        words.doctor.map((line) => el("li", {}, line)),
      ),
      el("p", {}, words.doctor_soon),
    ),
    part(words.what_title, words.what),
    part(words.how_title, howText(about)),
    part(words.privacy_title, words.privacy),
    part(words.install_title, words.install),
    part(words.software_title, words.software),
    el("h2", {}, words.model_title),
    about?.demo ? el("p", { class: "demo-note" }, words.demo) : null,
    about ? el("div", { class: "model-card" }, cardText(about.card)) : el("p", { class: "muted" }, words.no_model),
  );
  return { title: words.title, node };
}

/** The limits are the model's; without it, or where it has none, nothing is said about them. */
function howText(about: About | null): string {
  const words = strings.about;
  if (!about || about.bands.low_below_logit === null || about.bands.high_from_logit === null)
    return `${words.how} ${words.how_photo}`;
  const { low, high } = sensitivities(about);
  return `${words.how} ${words.how_limits(low, high)} ${words.how_photo}`;
}

function part(title: string, text: string): Child {
  return [el("h2", {}, title), el("p", {}, text)];
}

/** Of the card's Markdown, headings, lists, tables and paragraphs; anything else is shown as it is written. */
export function cardText(markdown: string): Child {
  return markdown
    .split(/\n(?=#)|\n\s*\n/)
    .map((block) => block.trim())
    .filter((block) => block !== "")
    .flatMap((block) => block.split(/(?<=^#.*)\n/))
    .map(cardBlock);
}

function cardBlock(block: string): HTMLElement {
  const title = /^#+\s+(.*)$/.exec(block);
  if (title) return el("h3", {}, plain(title[1] ?? ""));
  const lines = block.split("\n");
  if (lines.every((line) => /^\s*[-*] |^\s{2,}\S/.test(line))) {
    return el(
      "ul",
      {},
      block
        .split(/\n(?=\s*[-*] )/)
        .map((item) => el("li", {}, plain(item.replace(/^\s*[-*] /, "").replace(/\n\s*/g, " ")))),
    );
  }
  if (lines.length > 1 && lines.every((line) => line.startsWith("|"))) return table(lines);
  return el("p", {}, plain(block.replace(/\n/g, " ")));
}

function table(lines: readonly string[]): HTMLElement {
  const cells = (line: string) =>
    line
      .replace(/^\||\|\s*$/g, "")
      .split("|")
      .map((cell) => plain(cell.trim()));
  const [head = "", , ...rows] = lines;
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": strings.result.card },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          cells(head).map((cell) => el("th", { scope: "col" }, cell)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            cells(row).map((cell) => el("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}

/** Without the marks for bold, code and links. */
function plain(text: string): string {
  return text.replace(/\*\*|`/g, "").replace(/\[([^\]]*)\]\(([^)]*)\)/g, "$1 ($2)");
}
