"""Whether a score is evidence: metrics, intervals, comparisons, stress. On arrays and callables; no torch, no model."""
