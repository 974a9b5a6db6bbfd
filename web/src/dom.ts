/** Building the page's elements in code: no HTML text is ever parsed, so nothing that a file says can become markup. */

export type Child = Node | string | null | undefined | false | readonly Child[];
type Attribute = string | number | boolean | null | undefined | EventListener;

/** An element; attributes that are functions listen to the event of their name, as in { click: save }. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

export function replace(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (child) parent.append(child as Node | string);
  }
}

export function button(
  label: string,
  look: "main" | "plain" | "quiet" | "danger",
  click: () => void,
  attributes: Record<string, Attribute> = {},
): HTMLButtonElement {
  return el("button", { type: "button", class: `button ${look}`, click, ...attributes }, label);
}

/** A link that looks like a button, to another view. */
export function link(label: string, hash: string, className: string): HTMLAnchorElement {
  return el("a", { href: hash, class: className }, label);
}

/** A picture from bytes. Its address is given back as soon as it is decoded. */
export function picture(bytes: ArrayBuffer, alternative: string, className = ""): HTMLImageElement {
  const address = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  const release = () => URL.revokeObjectURL(address);
  return el("img", { src: address, alt: alternative, class: className, load: release, error: release });
}

/** Hands a file to the browser's downloads. */
export function download(data: Blob, name: string): void {
  const address = URL.createObjectURL(data);
  const anchor = el("a", { href: address, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers start to read late
}

/** Asks before something is deleted. The dialog keeps the focus inside and gives it back. */
export function confirmed(question: string, yes: string, no: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = el("dialog", { class: "ask", "aria-labelledby": "ask-text" });
    dialog.append(
      el("p", { id: "ask-text" }, question),
      el(
        "div",
        { class: "row" },
        button(no, "plain", () => dialog.close("no"), { autofocus: true }),
        button(yes, "danger", () => dialog.close("yes")),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
