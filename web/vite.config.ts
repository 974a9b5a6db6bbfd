import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { appFiles, packedRuntime, precache, withoutPlainRuntime } from "./build/plugins.ts";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig({
  base: "./", // the same files work from any folder of any static host
  plugins: [packedRuntime(), appFiles(), precache()],
  worker: { format: "es", plugins: () => [withoutPlainRuntime()] },
  build: {
    outDir: process.env["LENTIGO_WEB_OUT"] ?? path("../src/lentigo/deploy/web"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the content policy allows no data: scripts, styles or fonts
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: path("index.html"), sw: path("src/sw.ts") },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
