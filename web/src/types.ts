/** What travels between the page's parts. The model's own description is `model.json`, written by `lentigo export`. */

export interface Pixels {
  readonly data: Uint8Array; // red, green, blue, row by row, 0 to 255
  readonly width: number;
  readonly height: number;
}

export interface Preprocessing {
  readonly resize_px: number | null;
  readonly crop_px: number | null;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface About {
  readonly format: number;
  readonly lentigo: string;
  readonly name: string;
  readonly title: string;
  readonly demo: boolean;
  readonly preprocessing: Preprocessing;
  readonly input_px: number;
  readonly cam_shape: readonly [number, number];
  readonly cam_maximum: number;
  readonly temperature: number | null;
  readonly temperature_reason: string;
  readonly bands: {
    readonly low_below_logit: number | null;
    readonly high_from_logit: number | null;
    readonly low_sensitivity?: number; // of each limit, 0 to 1; missing in earlier exports
    readonly high_sensitivity?: number;
    readonly reason: string;
  };
  readonly outlier: OutlierLimits;
  readonly validation: {
    readonly n: number;
    readonly n_malignant: number;
    readonly auc: number | null; // null: only one class among them
    readonly auc_low: number | null;
    readonly auc_high: number | null;
  };
  readonly training: { readonly data: string; readonly images: number; readonly checkpoint_sha256: string };
  readonly variant: { readonly precision: string; readonly auc_loss: number | null };
  readonly card: string;
  readonly onnx: { readonly file: string; readonly bytes: number; readonly sha256: string };
}

export interface OutlierLimits {
  readonly warn_above: number;
  readonly refuse_above: number;
}

export type Band = "low" | "unclear" | "high" | "refused";

export type FindingName =
  | "too_small"
  | "blurred"
  | "too_dark"
  | "too_bright"
  | "no_lesion"
  | "lesion_cut"
  | "several_lesions"
  | "hair"
  | "not_dermoscopy";

export interface Finding {
  readonly name: FindingName;
  readonly severity: "refuse" | "warn";
}

export interface Heat {
  readonly data: Float32Array; // raw map, row by row, in logits, signed
  readonly rows: number;
  readonly columns: number;
}

export interface Screening {
  readonly band: Band;
  readonly probability: number | null; // null where refused
  readonly logit: number | null;
  readonly outlier: number | null; // null where the photo was refused before the model saw it
  readonly findings: readonly Finding[];
  readonly heat: Heat | null;
}
