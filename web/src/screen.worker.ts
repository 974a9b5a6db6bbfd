/** The model's own thread: loads it, looks at the photo's quality, runs the network. Nothing here leaves the device. */

import * as ort from "onnxruntime-web/wasm";
import { bandOf } from "./bands";
import { preprocess } from "./preprocess";
import { checkQuality, outlierFindings } from "./quality";
import type { Answer, Question } from "./screener";
import type { About, Finding, Heat, Pixels, Screening } from "./types";

/** What of the worker's global scope is used here; the page's types would clash with the worker's own. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<Question>) => void;
  postMessage(answer: Answer): void;
};

interface Loaded {
  readonly about: About;
  readonly session: ort.InferenceSession;
}

let loading: Promise<Loaded> | undefined;

scope.onmessage = async ({ data: question }) => {
  const { id } = question;
  try {
    if (question.kind === "load") {
      loading ??= load(question.base, question.runtime).catch((error: unknown) => {
        loading = undefined; // the next try fetches anew
        throw error;
      });
      scope.postMessage({ id, ok: true, value: (await loading).about });
    } else {
      if (!loading) throw new Error("no model is loaded");
      scope.postMessage({ id, ok: true, value: await screen(await loading, question.image) });
    }
  } catch (error) {
    scope.postMessage({ id, ok: false, error: error instanceof Error ? error.message : String(error) });
  }
};

async function load(base: string, runtime: string): Promise<Loaded> {
  const [{ about, model }, wasm] = await Promise.all([describedModel(base), bytesOf(runtime).then(unpacked)]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // this is a thread of its own already, and few static hosts isolate their pages
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  return { about, session };
}

/** A newer model may take the place of the described one before its file was asked for; then the newer is taken. */
async function describedModel(base: string): Promise<{ about: About; model: ArrayBuffer }> {
  const about = await aboutModel(base);
  try {
    return { about, model: await modelFile(base, about) };
  } catch (error) {
    const newer = await aboutModel(base);
    if (newer.onnx.sha256 === about.onnx.sha256) throw error;
    return { about: newer, model: await modelFile(base, newer) };
  }
}

async function aboutModel(base: string): Promise<About> {
  const response = await fetch(new URL("model/model.json", base), { cache: "no-cache" });
  if (!response.ok) throw new Error(`model/model.json: ${response.status}`);
  const about = (await response.json()) as About;
  if (about.format !== 1) throw new Error(`model/model.json has format ${about.format}; this page reads format 1`);
  return about;
}

async function bytesOf(address: string, cache: RequestCache = "default"): Promise<ArrayBuffer> {
  const response = await fetch(address, { cache });
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response.arrayBuffer();
}

/** The sum in the address lets caches keep several models apart; a torn or stale copy is fetched once more. */
async function modelFile(base: string, { onnx }: About): Promise<ArrayBuffer> {
  const address = new URL(`model/${onnx.file}?sha256=${onnx.sha256}`, base).href;
  for (const cache of ["default", "reload"] as const) {
    const model = await bytesOf(address, cache);
    if (await hasSum(model, onnx.sha256)) return model;
  }
  throw new Error(`model/${onnx.file} is not the file that model/model.json describes`);
}

/** The runtime travels packed, since few static hosts pack WebAssembly; a host that unpacked it already is fine too. */
async function unpacked(data: ArrayBuffer): Promise<ArrayBuffer> {
  const [first, second] = new Uint8Array(data);
  if (first !== 0x1f || second !== 0x8b) return data;
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function hasSum(data: ArrayBuffer, sha256: string): Promise<boolean> {
  if (!("subtle" in crypto)) return true; // missing on plain http, where nothing can be checked
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

async function screen({ about, session }: Loaded, image: Pixels): Promise<Screening> {
  const quality = checkQuality(image).findings;
  const input = preprocess(image, about.preprocessing);
  const tensor = new ort.Tensor("float32", input.data, [1, 3, input.height, input.width]);
  const outputs = await session.run({ images: tensor });
  const [logit, outlier] = [single(outputs, "logit"), single(outputs, "outlier")];
  const findings: readonly Finding[] = [...quality, ...outlierFindings(outlier, about.outlier)];
  if (findings.some((finding) => finding.severity === "refuse")) {
    return { band: "refused", probability: null, logit: null, outlier, findings, heat: null };
  }
  const probability = 1 / (1 + Math.exp(-logit / (about.temperature ?? 1)));
  return { band: bandOf(logit, about), probability, logit, outlier, findings, heat: heatOf(outputs) };
}

function single(outputs: ort.InferenceSession.OnnxValueMapType, name: string): number {
  const value = (outputs[name]?.data as Float32Array | undefined)?.[0];
  if (value === undefined || !Number.isFinite(value)) throw new Error(`the model gave no finite ${name}`);
  return value;
}

function heatOf(outputs: ort.InferenceSession.OnnxValueMapType): Heat {
  const cam = outputs["cam"];
  const [, rows, columns] = cam?.dims ?? [];
  if (!cam || !rows || !columns) throw new Error("the model gave no heat map");
  return { data: Float32Array.from(cam.data as Float32Array), rows, columns };
}
