/** The third view: what the model said, what that means and does not mean, and where it looked. */

import { go, goInstead, heading, work, type View } from "../app";
import { oneInLow } from "../bands";
import { button, el, type Child } from "../dom";
import { strings } from "../strings";
import type { About, Screening } from "../types";
import { checkedCanvas } from "./crop";
import { findingList } from "./findings";
import { heatFigure } from "./heat";
import { saveForm } from "./save";

const SHOWN_SIDE = 640;

export function resultView(): View {
  const { screening, about } = work;
  const canvas = checkedCanvas(SHOWN_SIDE);
  if (!screening || !about || !canvas) {
    void goInstead("#/");
    return { title: "", node: el("div") };
  }
  const refused = screening.probability === null;
  const parts = refused ? refusal(screening, canvas) : answer(screening, screening.probability, about, canvas);
  const node = el("article", { class: `result ${screening.band}` }, parts, actions(), numbers(screening, about));
  return { title: strings.result.title[screening.band], node };
}

function refusal(screening: Screening, canvas: HTMLCanvasElement): Child {
  const words = strings.result;
  return el(
    "div",
    { class: "result-columns" },
    el(
      "section",
      { class: "verdict" },
      heading(words.title.refused, words.kicker),
      el("p", { class: "lead" }, words.refused_lead),
    ),
    el("section", { class: "reasons" }, el("h2", {}, words.reasons), findingList(screening.findings)),
    photoOnly(canvas),
  );
}

function answer(screening: Screening, probability: number, about: About, canvas: HTMLCanvasElement): Child {
  const picture = screening.heat ? heatFigure(canvas, screening.heat, about) : photoOnly(canvas);
  const noted = notes(screening);
  // What speaks against the photo comes before the heat map, that nothing does comes behind it.
  const rest = screening.findings.length > 0 ? [noted, picture] : [picture, noted];
  return [
    el("div", { class: "result-columns" }, verdict(screening, probability, about), rest),
    meaning(),
    saveForm(screening, about),
  ];
}

function verdict(screening: Screening, probability: number, about: About): HTMLElement {
  const words = strings.result;
  const band = screening.band === "refused" ? "unclear" : screening.band; // refused has no probability, see `resultView`
  return el(
    "section",
    { class: "verdict" },
    heading(words.title[band], words.kicker),
    about.demo ? el("p", { class: "demo-note" }, words.demo) : null,
    el(
      "p",
      { class: "probability" },
      el("strong", {}, words.probability(probability)),
      " ",
      el("span", {}, words.probability_label),
    ),
    scale(probability, words.title[band], about),
    el("p", { class: "meaning" }, band === "low" ? words.meaning.low(oneInLow(about)) : words.meaning[band]),
    about.temperature === null ? el("p", { class: "muted" }, words.uncalibrated(about.temperature_reason)) : null,
    about.bands.low_below_logit === null && about.bands.high_from_logit === null
      ? el("p", { class: "muted" }, words.band_missing(about.bands.reason))
      : null,
  );
}

/** The bands as parts of a line from 0 to 100 %, with this photo's place. Said in words too. */
function scale(probability: number, band: string, about: About): HTMLElement {
  const words = strings.result;
  const share = (logit: number) => 100 / (1 + Math.exp(-logit / (about.temperature ?? 1)));
  const low = about.bands.low_below_logit === null ? 0 : share(about.bands.low_below_logit);
  const high = about.bands.high_from_logit === null ? 100 : Math.max(share(about.bands.high_from_logit), low);
  const zone = (name: string, from: number, to: number, label: string) => {
    const part = el("span", { class: `zone ${name}` }, to - from > 14 ? label : "");
    part.style.width = `${to - from}%`;
    return part;
  };
  const mark = el("span", { class: "mark" });
  mark.style.left = `${Math.min(Math.max(100 * probability, 0.5), 99.5)}%`;
  const zones = [
    zone("low", 0, low, words.scale_low),
    zone("unclear", low, high, words.scale_unclear),
    zone("high", high, 100, words.scale_high),
  ];
  const line = el(
    "div",
    { class: "scale", role: "img", "aria-label": words.scale(probability, band) },
    el("div", { class: "zones" }, zones),
    mark,
  );
  return el(
    "div",
    { class: "scale-box" },
    line,
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "0 %"), el("span", {}, "100 %")),
  );
}

function photoOnly(canvas: HTMLCanvasElement): HTMLElement {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", strings.result.photo);
  return el(
    "figure",
    { class: "heat" },
    el("div", { class: "layers" }, canvas),
    el("figcaption", {}, strings.result.photo),
  );
}

function notes(screening: Screening): HTMLElement {
  const words = strings.result;
  const some = screening.findings.length > 0;
  return el(
    "section",
    { class: "notes" },
    el("h2", {}, words.notes),
    el("p", {}, some ? words.notes_lead : words.no_notes),
    some && findingList(screening.findings),
  );
}

function meaning(): HTMLElement {
  const words = strings.result;
  const list = (title: string, lines: readonly string[]) =>
    el(
      "section",
      {},
      el("h2", {}, title),
      el(
        "ul",
        {},
        lines.map((line) => el("li", {}, line)),
      ),
    );
  return el(
    "div",
    { class: "two" },
    list(words.means_not_title, words.means_not),
    list(words.means_title, words.means),
  );
}

function actions(): HTMLElement {
  return el(
    "div",
    { class: "row actions" },
    button(strings.result.again, "plain", () => go("#/crop")),
    button(strings.result.another, "plain", () => go("#/")),
  );
}

function numbers(screening: Screening, about: About): HTMLElement {
  const words = strings.result;
  const { validation, outlier } = about;
  const facts: [string, string | null][] = [
    [words.model, `${about.title} (${about.variant.precision}, lentigo ${about.lentigo})`],
    [words.logit, screening.logit === null ? null : screening.logit.toFixed(3)],
    [
      words.outlier,
      screening.outlier === null
        ? null
        : words.outlier_value(screening.outlier.toFixed(2), outlier.refuse_above.toFixed(2)),
    ],
    [words.bands, about.bands.reason || null],
    [words.trained, words.trained_value(about.training.images, about.training.data)],
    [
      words.validation,
      words.validation_value(
        validation.n,
        ...([validation.auc, validation.auc_low, validation.auc_high].map((value) => value?.toFixed(3) ?? "?") as [
          string,
          string,
          string,
        ]),
      ),
    ],
  ];
  const list = facts.map(([term, value]) =>
    value === null ? null : el("div", {}, el("dt", {}, term), el("dd", {}, value)),
  );
  return el("details", { class: "numbers" }, el("summary", {}, words.model_title), el("dl", { class: "facts" }, list));
}
