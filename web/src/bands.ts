/** The bands of a model: which one a score lies in, and what share of the cancers set their limits. */

import type { About, Band } from "./types";

/** Where either limit is missing everything is unclear, as in Python. */
export function bandOf(logit: number, { bands }: About): Exclude<Band, "refused"> {
  const { low_below_logit: low, high_from_logit: high } = bands;
  if (low === null || high === null) return "unclear";
  return logit < low ? "low" : logit >= high ? "high" : "unclear";
}

/** Shares of the validation pictures' cancers above each limit; an older model.json does not name them. */
export function sensitivities({ bands }: About): { readonly low: number; readonly high: number } {
  return { low: bands.low_sensitivity ?? 0.99, high: bands.high_sensitivity ?? 0.9 };
}

/** One in how many cancers lies in the low band: 100 where 0.99 of them lie above it, Infinity where all do. */
export function oneInLow(about: About): number {
  const missed = 1 - sensitivities(about).low;
  return missed > 0 ? Math.round(1 / missed) : Infinity;
}
