/** What the build adds to Vite: the packed runtime, icons and manifest, and the service worker's list of files. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";
import { strings } from "../src/strings.ts";
import { lensPicture, pngIcon, svgIcon } from "./icons.ts";

const RUNTIME = "ort-wasm-simd-threaded.wasm";

/** onnxruntime's WebAssembly, packed: 3.7 MB instead of 14 MB from hosts that do not pack it themselves. */
export function packedRuntime(): Plugin {
  const packed = gzipSync(readFileSync(new URL(`../node_modules/onnxruntime-web/dist/${RUNTIME}`, import.meta.url)), {
    level: 9,
  });
  const fileName = `assets/runtime-${sumOf(packed)}.gz`;
  return {
    name: "packed-runtime",
    resolveId: (id) => (id === "virtual:runtime" ? "\0virtual:runtime" : null),
    load(id) {
      if (id !== "\0virtual:runtime") return null;
      this.emitFile({ type: "asset", fileName, source: packed });
      return `export default ${JSON.stringify(fileName)}`;
    },
  };
}

/** Keeps Vite from shipping the unpacked runtime too, which onnxruntime's own file names. */
export function withoutPlainRuntime(): Plugin {
  return {
    name: "without-plain-runtime",
    transform: (code, id) =>
      id.includes("onnxruntime-web")
        ? code.replaceAll(`new URL("${RUNTIME}",import.meta.url)`, `new URL("about:blank")`)
        : null,
  };
}

/** Icons, the manifest, and the words of index.html, which come from strings.ts as all others do. */
export function appFiles(): Plugin {
  const words: Record<string, string> = { ...strings.page, language: strings.language };
  const icons = {
    "icon-192.png": pngIcon(192, false),
    "icon-512.png": pngIcon(512, false),
    "icon-mask-512.png": pngIcon(512, true),
    "icon-180.png": pngIcon(180, true),
  };
  return {
    name: "app-files",
    generateBundle() {
      for (const [name, source] of Object.entries(icons)) this.emitFile({ type: "asset", fileName: name, source });
      this.emitFile({ type: "asset", fileName: "icon.svg", source: svgIcon() });
      this.emitFile({ type: "asset", fileName: "lens.svg", source: lensPicture() });
      this.emitFile({ type: "asset", fileName: "manifest.webmanifest", source: JSON.stringify(manifest(), null, 1) });
    },
    transformIndexHtml: {
      order: "post",
      handler: (html) => ({
        html: html.replace(/%(\w+)%/g, (_, key: string) => words[key] ?? ""),
        tags: [
          { tag: "link", attrs: { rel: "manifest", href: "./manifest.webmanifest" } },
          { tag: "link", attrs: { rel: "icon", href: "./icon.svg", type: "image/svg+xml" } },
          { tag: "link", attrs: { rel: "apple-touch-icon", href: "./icon-180.png" } },
        ],
      }),
    },
  };
}

function manifest(): object {
  return {
    id: "./",
    start_url: "./",
    scope: "./",
    name: strings.page.title,
    short_name: strings.page.short_title,
    description: strings.page.description,
    lang: strings.language,
    display: "standalone",
    background_color: "#f6f7f7",
    theme_color: "#0a5f73",
    categories: ["medical", "education"],
    icons: [
      { src: "icon.svg", sizes: "any", type: "image/svg+xml" },
      { src: "icon-192.png", sizes: "192x192", type: "image/png" },
      { src: "icon-512.png", sizes: "512x512", type: "image/png" },
      { src: "icon-mask-512.png", sizes: "512x512", type: "image/png", purpose: "maskable" },
    ],
  };
}

/** Fills in sw.js when all files lie there: their names, and as version the sum of what they hold. */
export function precache(): Plugin {
  return {
    name: "precache",
    writeBundle({ dir }) {
      if (!dir) throw new Error("the build has no output folder");
      const files = readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
        .filter((path) => path !== "sw.js")
        .sort();
      const all = createHash("sha256");
      const script = join(dir, "sw.js");
      const code = readFileSync(script, "utf8");
      for (const path of files) all.update(path).update(readFileSync(join(dir, path)));
      const version = all.update(code).digest("hex").slice(0, 12);
      writeFileSync(
        script,
        code.replaceAll("LENTIGO_FILES", JSON.stringify(files)).replaceAll("LENTIGO_VERSION", JSON.stringify(version)),
      );
    },
  };
}

function sumOf(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex").slice(0, 8);
}
