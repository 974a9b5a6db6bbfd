/** The frame around the views: header, warnings that are always there, the current view, and what is announced. */

import { el, link, replace, type Child } from "./dom";
import { strings } from "./strings";
import type { About, Screening } from "./types";
import type { Square } from "./decode";

export interface View {
  readonly title: string;
  readonly node: HTMLElement;
  /** Called when another view takes its place. */
  readonly leave?: () => void;
}

/** What the visitor is working on; gone with the tab. */
export interface Work {
  photo: ImageBitmap | null;
  square: Square | null;
  screening: Screening | null;
  about: About | null;
}

export const work: Work = { photo: null, square: null, screening: null, about: null };

const SHOWN_MS = 8000;

type Route = (...rest: string[]) => View | Promise<View>;

const main = el("main", { id: "main", tabindex: -1 });
const status = el("p", { class: "status", role: "status" });
const alarm = el("p", { class: "alarm", role: "alert" });
const demo = el("div", { class: "demo" });
const links = new Map<string, HTMLAnchorElement>();

let current: View | undefined;
let routes: Record<string, Route> = {};
let showing = 0;
let fading: ReturnType<typeof setTimeout> | undefined;

export function start(all: Record<string, Route>): void {
  routes = all;
  const app = document.querySelector("#app");
  if (!app) throw new Error("index.html has no #app");
  replace(
    app,
    skipLink(),
    header(),
    demo,
    main,
    el("div", { class: "bottom" }, el("div", { class: "messages" }, status, alarm), footer()),
  );
  addEventListener("hashchange", () => void show());
  void show(false);
}

/** Another view; the browser's back button leads back. */
export function go(hash: string): void {
  if (location.hash === hash) void show();
  else location.hash = hash;
}

/** As `go`, but the current view does not stay behind the back button. */
export async function goInstead(hash: string): Promise<void> {
  history.replaceState(null, "", hash);
  await show();
}

/** Said once, also to screen readers, and shown for a while. */
export function say(text: string): void {
  alarm.textContent = "";
  status.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => (status.textContent = ""), SHOWN_MS);
}

/** Something went wrong: said at once. */
export function warn(text: string): void {
  status.textContent = "";
  alarm.textContent = text;
}

/** Called when the model's description is known. */
export function knowModel(about: About): void {
  work.about = about;
  if (about.demo)
    replace(demo, el("p", { role: "note" }, el("strong", {}, strings.frame.demo), " ", strings.frame.demo_text));
}

export function heading(text: string, kicker?: string): Child {
  return [kicker ? el("p", { class: "kicker" }, kicker) : null, el("h1", { tabindex: -1 }, text)];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** What belongs to an address; in a private window, for one, there is no history to show. */
async function viewOf(name: string, rest: string[]): Promise<View> {
  const route = routes[name];
  if (!route) return { title: strings.not_found, node: el("p", {}, strings.not_found) };
  try {
    return await route(...rest);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const node = el("div", {}, ...[heading(strings.view_failed)].flat(), el("p", { class: "muted" }, why));
    return { title: strings.view_failed, node };
  }
}

async function show(moveFocus = true): Promise<void> {
  const turn = ++showing;
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const view = await viewOf(name, rest);
  if (turn !== showing) return view.leave?.(); // another view was asked for meanwhile
  current?.leave?.();
  current = view;
  alarm.textContent = status.textContent = "";
  replace(main, view.node);
  document.title = view.title ? `${view.title} – ${strings.page.short_title}` : strings.page.title;
  const marked = name === "mole" || name === "compare" ? "history" : name === "about" || name === "history" ? name : "";
  for (const [place, anchor] of links) anchor.toggleAttribute("aria-current", place === marked);
  links.get(marked)?.setAttribute("aria-current", "page");
  if (!moveFocus) return;
  scrollTo(0, 0);
  const target = rest[0] && name === "about" ? main.querySelector<HTMLElement>(`#${CSS.escape(rest[0])}`) : null;
  (target ?? main.querySelector<HTMLElement>("h1") ?? main).focus({ preventScroll: target === null });
}

function skipLink(): HTMLElement {
  const skip = el("a", { href: "#main", class: "skip" }, strings.frame.skip);
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address names the view
    main.focus();
  });
  return skip;
}

function header(): HTMLElement {
  for (const [place, label] of [
    ["", strings.frame.check],
    ["history", strings.frame.history],
    ["about", strings.frame.about],
  ] as const) {
    links.set(place, link(label, `#/${place}`, ""));
  }
  const mark = el("img", { src: "./icon.svg", alt: "", width: 28, height: 28 });
  return el(
    "header",
    { class: "top" },
    el(
      "a",
      { href: "#/", class: "brand", "aria-label": strings.frame.home },
      mark,
      el("span", {}, strings.page.short_title),
    ),
    el("nav", { "aria-label": strings.frame.menu }, ...links.values()),
  );
}

function footer(): HTMLElement {
  return el(
    "footer",
    { class: "always" },
    el("p", {}, el("strong", {}, strings.frame.doctor), " ", link(strings.frame.doctor_more, "#/about/doctor", "")),
    el("p", { class: "small" }, strings.frame.not_device),
  );
}
