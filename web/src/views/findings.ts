/** What is wrong with a photo, and what to do about it: first what refuses it. */

import { el } from "../dom";
import { strings } from "../strings";
import type { Finding } from "../types";

export function findingList(findings: readonly Finding[]): HTMLElement {
  const ordered = ["refuse", "warn"].flatMap((kind) => findings.filter(({ severity }) => severity === kind));
  return el(
    "ul",
    { class: "findings" },
    ordered.map(({ name, severity }) => {
      const [text, advice] = strings.findings[name][severity] ?? [name, ""];
      return el(
        "li",
        { class: severity },
        el("strong", { class: "tag" }, strings.finding[severity]),
        el("p", {}, el("b", {}, text), " ", advice),
      );
    }),
  );
}
