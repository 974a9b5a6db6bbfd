/** The page starts here. */

import "./style.css";
import { knowModel, say, start, work } from "./app";
import { decode, regionPixels } from "./decode";
import { heatPicture } from "./heat";
import { preprocess } from "./preprocess";
import { checkQuality, LIMITS } from "./quality";
import { loadModel } from "./screener";
import { strings } from "./strings";
import type { Pixels } from "./types";
import { aboutView } from "./views/about";
import { cameraView } from "./views/camera";
import { compareView } from "./views/compare";
import { cropView } from "./views/crop";
import { historyView } from "./views/history";
import { moleView } from "./views/mole";
import { resultView } from "./views/result";
import { startView } from "./views/start";

start({
  "": startView,
  camera: cameraView,
  crop: cropView,
  result: resultView,
  history: historyView,
  mole: moleView,
  compare: compareView,
  about: aboutView,
});

const MODEL_MS = 10_000; // a model that takes longer does not hold the page's own files up

const loaded = loadModel().then(knowModel);
const late = new Promise<void>((resolve) => setTimeout(resolve, MODEL_MS));
void Promise.race([loaded, late])
  .catch(() => undefined) // the start view says why, and offers another try
  .then(keepForOffline);
void loaded.then(keepModel, () => undefined);

/** After the model, so that the worker's own fetches find everything in the browser's cache. */
async function keepForOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // also on plain http from another machine
  try {
    const registration = await navigator.serviceWorker.register("./sw.js");
    const follow = (fresh: ServiceWorker | null) => {
      const tell = () => {
        if (fresh?.state === "installed" && navigator.serviceWorker.controller) say(strings.frame.new_version);
      };
      fresh?.addEventListener("statechange", tell);
      tell();
    };
    // The browser looks for a newer one by itself too, and may have found it before this line.
    follow(registration.waiting ?? registration.installing);
    registration.addEventListener("updatefound", () => follow(registration.installing));
  } catch {
    // Without it the page works as before, but not offline.
  }
}

/** The worker asks for the model itself, once the page has it: both at once would load it twice. */
async function keepModel(): Promise<void> {
  const worker = (await navigator.serviceWorker?.ready)?.active;
  worker?.postMessage("keep the model");
}

/** A whole file's pixels, as the page decodes them. */
async function pixelsOf(file: Blob): Promise<Pixels> {
  const bitmap = await decode(file);
  const pixels = regionPixels(bitmap, 0, 0, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}

// The page's own steps, for the console and for the tests that hold them to Python's.
Object.assign(window, { lentigo: { pixelsOf, preprocess, checkQuality, LIMITS, heatPicture, work } });
