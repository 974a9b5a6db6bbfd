/** The page's side of the model's thread: questions out, answers in. */

import runtime from "virtual:runtime";
import ScreenWorker from "./screen.worker?worker";
import type { About, Pixels, Screening } from "./types";

export type Question = { readonly id: number } & Asked;
type Asked =
  | { readonly kind: "load"; readonly base: string; readonly runtime: string }
  | { readonly kind: "screen"; readonly image: Pixels };
export type Answer = { readonly id: number } & (
  | { readonly ok: true; readonly value: About | Screening }
  | { readonly ok: false; readonly error: string }
);

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

const waiting = new Map<number, Waiting>();
let worker: Worker | undefined;
let asked = 0;
let about: Promise<About> | undefined;

/** The model's description, once the model is ready to run. After a failure the next call tries again. */
export function loadModel(): Promise<About> {
  const base = new URL(".", location.href).href;
  about ??= ask<About>({ kind: "load", base, runtime: new URL(runtime, base).href }).catch((error: unknown) => {
    about = undefined;
    throw error;
  });
  return about;
}

/** Gives the pixels away, so that they are not copied. Throws where the model cannot be loaded or run. */
export async function screen(image: Pixels): Promise<Screening> {
  await loadModel();
  return ask<Screening>({ kind: "screen", image }, [image.data.buffer]);
}

function ask<T>(question: Asked, given: Transferable[] = []): Promise<T> {
  worker ??= started();
  const id = asked++;
  return new Promise<T>((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker!.postMessage({ id, ...question }, given);
  });
}

function started(): Worker {
  const thread = new ScreenWorker();
  thread.onmessage = ({ data: answer }: MessageEvent<Answer>) => {
    const asker = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.ok) asker?.resolve(answer.value as never);
    else asker?.reject(new Error(answer.error));
  };
  thread.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "the model's thread stopped"));
    waiting.clear();
    thread.terminate();
    worker = about = undefined;
  };
  return thread;
}
