"""Numbers as a report prints them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64

from lentigo.evidence.intervals import Interval

LEAST_OF_CLASS = 100  # images; Collins et al. ask for as many of either class to validate a model


def score_text(value: float | int) -> str:
    return "undefined" if math.isnan(value) else minus_text(f"{value:.3f}")


def minus_text(number: str) -> str:
    """With a minus sign that is as wide as a plus; what rounds to 0 has none."""
    return number.replace("-", "−") if number.strip("-0.") else number.removeprefix("-")


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
    return f"{score_text(interval.value)} ({bounds_text(interval) or 'no interval'})"


def bounds_text(interval: Interval) -> str:
    """The bounds alone, such as 0.940 to 0.960; empty where there are none."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return ""
    return f"{score_text(interval.low)} to {score_text(interval.high)}"


def percent_text(interval: Interval) -> str:
    """A share in percent with its bounds, such as 99.1 % (98.2 to 99.8)."""
    if math.isnan(interval.value):
        return "undefined"
    bounds = "no interval" if math.isnan(interval.low) else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    return f"{100 * interval.value:.1f} % ({bounds})"


def probability_text(logit: float) -> str:
    """Probability of malignant; never 0 or 1, which no model knows."""
    probability = 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
    if probability < 0.0005:
        return "<0.001"
    return ">0.999" if probability >= 0.9995 else f"{probability:.3f}"


def few_images(labels: Int64[np.ndarray, " image"], groups: Int64[np.ndarray, " image"] | None = None) -> str:
    """A warning where a class has fewer than 100 test images, or groups of them; empty otherwise.

    Args:
        groups: one number an image; images of one number, such as those of a patient, count as one.

    Source: Collins, Ogundimu & Altman 2016, Statistics in Medicine 35(2):214-226, doi:10.1002/sim.6787.
    """
    group = np.arange(labels.size) if groups is None else groups
    counts = {name: np.unique(group[labels == label]).size for label, name in ((1, "malignant"), (0, "benign"))}
    few = [f"{count_text(count)} {name}" for name, count in counts.items() if count < LEAST_OF_CLASS]
    if not few:
        return ""
    of = "" if np.unique(group).size == labels.size else " of different lesions or patients"
    return (
        f"There are only {' and '.join(few)} test images{of}: every score is imprecise, and with a few dozen of a "
        "class even the intervals may be too narrow."
    )


def capital(text: str) -> str:
    """With a capital letter at the start, and the others as they are."""
    return text[:1].upper() + text[1:]


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
