"""Numbers as a report prints them."""

import math
from collections.abc import Callable, Sequence

from lentigo.evidence.intervals import Interval


def score_text(value: float | int) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def count_text(value: int) -> str:
    return f"{value:,}"


def rate_text(value: float) -> str:
    """Images a second; three digits are more than a busy machine repeats."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def duration_text(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def large_text(value: int) -> str:
    """A large number with the word for its size: 7,609,090,048 is 7.61 billion."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}" if value < 1000 * size else f"{value / size:,.0f} {word}"
    return count_text(value)


def interval_text(interval: Interval) -> str:
    """The value with its bounds, such as 0.950 (0.940 to 0.960)."""
    if math.isnan(interval.value):
        return "undefined"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def probability_text(logit: float) -> str:
    """Probability of malignant; never 0 or 1, which no model knows."""
    probability = 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
    if probability < 0.0005:
        return "<0.001"
    return ">0.999" if probability >= 0.9995 else f"{probability:.3f}"


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


FILTERS: dict[str, Callable[..., str]] = {
    "count": count_text,
    "rate": rate_text,
    "duration": duration_text,
    "large": large_text,
    "score": score_text,
    "interval": interval_text,
}
