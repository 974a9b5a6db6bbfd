/** The camera inside the page: a preview with a ring, and a shutter. Where it is not allowed, the phone's camera app. */

import { go, goInstead, heading, warn, work, type View } from "../app";
import { button, el, replace } from "../dom";
import { strings } from "../strings";
import { filePicker } from "./start";

const WISHES: MediaStreamConstraints = {
  audio: false,
  video: { facingMode: { ideal: "environment" }, width: { ideal: 2560 }, height: { ideal: 1920 } },
};

export function cameraView(): View {
  const words = strings.camera;
  const video = el("video", { autoplay: true, playsinline: true, muted: true, "aria-label": words.preview });
  video.muted = true; // the attribute alone does not count on elements made in code
  const shutter = button(words.shutter, "main", () => void shoot(video), { disabled: true });
  const stage = el("div", { class: "camera" }, video, el("div", { class: "ring", "aria-hidden": "true" }));
  const hint = el("p", { class: "muted" }, words.starting);
  const node = el(
    "section",
    { class: "camera-view" },
    heading(words.title),
    hint,
    stage,
    el(
      "div",
      { class: "row actions" },
      shutter,
      button(words.cancel, "plain", () => go("#/")),
      filePicker(words.app, true),
    ),
  );
  const stream = startCamera();
  stream.then(
    (found) => {
      video.srcObject = found;
      video.addEventListener("loadeddata", () => {
        shutter.disabled = false;
        replace(hint, words.hint);
      });
    },
    (error: unknown) => {
      stage.remove();
      shutter.remove();
      const denied = error instanceof DOMException && error.name === "NotAllowedError";
      replace(hint, denied ? words.denied : words.missing);
    },
  );
  return { title: words.title, node, leave: () => void stream.then(stopCamera, () => undefined) };
}

async function startCamera(): Promise<MediaStream> {
  // Undefined on plain http, whatever the types say.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices?.getUserMedia) throw new Error("no camera");
  return devices.getUserMedia(WISHES);
}

function stopCamera(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

async function shoot(video: HTMLVideoElement): Promise<void> {
  try {
    const photo = await createImageBitmap(video);
    work.photo?.close();
    Object.assign(work, { photo, square: ringOf(photo), screening: null });
    await goInstead("#/crop");
  } catch {
    warn(strings.camera.missing);
  }
}

/** The ring spans 70 % of the preview's shorter side; the frame starts a little wider, so that skin is left around. */
function ringOf(photo: ImageBitmap): { left: number; top: number; side: number } {
  const side = Math.round(0.8 * Math.min(photo.width, photo.height));
  return { left: Math.round((photo.width - side) / 2), top: Math.round((photo.height - side) / 2), side };
}
