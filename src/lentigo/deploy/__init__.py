"""Trained models in use."""

import os

# onnxruntime's released builds count their use and tell its makers, unless this is set before it is imported. What a
# person screens, and that a person screens at all, is nobody's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

NOTICE = "Research software, not a medical device."
