"""Numbers and findings of the report as text. Every sentence is computed from the content; none is a verdict."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from lentigo.evidence.intervals import Interval, wilson_interval
from lentigo.report.content import ModelResult, Numbers, ReportContent

DISCLAIMER = (
    "Research software, not a medical device. No number or picture on this page says that a lesion is harmless; "
    "a low probability does not rule out melanoma. Have a physician look at a spot that changes or worries you."
)
_NUMBER_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


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


def undefined_reason(key: str, scores: Numbers) -> str:
    """Why a score has no value on these test images, as `lentigo.evidence.metrics` defines it."""
    if not scores.get("n", 1):
        return "there are no test images"
    return {
        "precision": "no image is called malignant",
        "recall": "no test image is malignant",
        "specificity": "no test image is benign",
        "f1": "no image is malignant or called so",
        "auc": "the test images are of one class",
    }.get(key, "the run holds no value")


def summary(content: ReportContent) -> list[str]:
    """What came out, in three to five sentences."""
    total, n = len(content.models), content.labels.size
    trained = sum(content.counts.get("train", {}).values())
    number = _NUMBER_WORDS[total] if total < len(_NUMBER_WORDS) else str(total)
    models = f"{number} {'model was' if total == 1 else 'models were'}"
    data = "drawn lesions" if content.drawn else f"images of {content.data_name}"
    learned = f"trained on {count_text(trained)} {data} and " if trained else ""
    where = "" if learned or content.drawn else f" of {content.data_name}"
    found = [f"{models} {learned}scored on {count_text(n)} test images{where} that were kept out of training."]
    worth = [] if content.worth is None else [content.worth.sentence]
    told = (*_auc_sentences(content.models), *_missed_sentence(content), *_disagreement_sentence(content))
    return [*found, *told, *worth]


def limits(content: ReportContent) -> list[tuple[str, str]]:
    """What the scores do not show: a heading and a sentence or two each."""
    origin = (
        "If benign and malignant images come from different archives, a model can tell the archives apart by frame, "
        "ruler or colour without looking at the mole. "
    )
    if content.worth is None:
        origin += "These data were not audited for that, nor for twins of test images among the training images."
    else:
        origin += (
            "The audit looks for the ways that it knows, and for copies across the parts of the split; a shortcut that "
            "no probe was made for is not found."
        )
    found = [
        ("One data set, one split, one training", _one_training(content)),
        ("The origin of the images", origin),
        (
            "Whom it was tried on",
            "No subgroup is scored. On some skin tones, ages, body sites or cameras, and on photographs from phones, "
            "the models may do worse than the table says.",
        ),
        (
            "The threshold",
            "An image is called malignant from a probability of 0.5 on, as in the paper. That weighs a missed melanoma "
            "like a needless excision; it is nobody's clinical choice. The probabilities are not calibrated.",
        ),
        (
            "The heat maps",
            "A map is as coarse as its cells, and its smooth edges are interpolation. Whether the colour lies on the "
            "lesion is judged by eye here; a plausible map does not prove a decision right.",
        ),
    ]
    if content.drawn:
        drawn = "lentigo drew these lesions to show its own path. No score here says anything about skin."
        found.insert(0, ("Drawn lesions", drawn))
    return found


def disagreement_counts(content: ReportContent) -> list[tuple[str, int, int, int]]:
    """How many test images all, some or none of the models call rightly: what, malignant, benign, both."""
    right, malignant = _right(content), content.labels == 1
    groups = [("Every model right", right.all(axis=0)), ("No model right", ~right.any(axis=0))]
    if len(content.models) > 1:
        groups.insert(1, ("Models disagree", right.any(axis=0) & ~right.all(axis=0)))
    else:
        groups = [("Right", right[0]), ("Wrong", ~right[0])]
    counts = [(what, int((group & malignant).sum()), int((group & ~malignant).sum())) for what, group in groups]
    return [(what, found, other, found + other) for what, found, other in counts]


def only_row_right(content: ReportContent) -> list[list[int]]:
    """Test images that the model of the row calls rightly and the model of the column wrongly."""
    right = _right(content).astype(np.int64)
    found: list[list[int]] = (right @ (1 - right).T).tolist()
    return found


def _right(content: ReportContent) -> Bool[np.ndarray, "model image"]:
    called = np.stack([model.logits >= 0 for model in content.models])
    right: Bool[np.ndarray, "model image"] = called == (content.labels == 1)
    return right


def _auc_sentences(models: Sequence[ModelResult]) -> list[str]:
    ranked = sorted(
        (model for model in models if not math.isnan(model.scores["auc"])), key=lambda m: -float(m.scores["auc"])
    )
    if not ranked:
        return ["The AUC is undefined, since the test images are of one class."]
    shown = [score_text(model.scores["auc"]) for model in ranked]
    if len(models) == 1:
        return [f"{ranked[0].title} reaches an AUC of {shown[0]}."]
    best = [model.title for model, text in zip(ranked, shown, strict=True) if text == shown[0]]
    others = [f"{m.title} ({text})" for m, text in zip(ranked, shown, strict=True) if text != shown[0]]
    if not others:
        return [f"All have the same AUC, {shown[0]}, to three digits."]
    has = "has" if len(best) == 1 else "share"
    first = f"{_listed(best)} {has} the highest AUC, {shown[0]}, followed by {_listed(others)}."
    apart = float(ranked[0].scores["auc"]) - float(ranked[-1].scores["auc"])
    return [first, f"Best and worst lie {apart:.3f} apart; whether that is more than chance is not tested here."]


def _missed_sentence(content: ReportContent) -> list[str]:
    malignant = int((content.labels == 1).sum())
    if not malignant:
        return []
    missed = sorted((int(model.scores["false_negative"]), model.title) for model in content.models)
    (fewest, best), (most, worst) = missed[0], missed[-1]
    start = f"At a probability of 0.5, of {count_text(malignant)} malignant test images"
    if fewest == most:
        return [f"{start} {best if len(missed) == 1 else 'every model'} misses {count_text(most)}."]
    return [f"{start} {best} misses {count_text(fewest)} and {worst} {count_text(most)}."]


def _disagreement_sentence(content: ReportContent) -> list[str]:
    if len(content.models) == 1:
        return []
    disagree = disagreement_counts(content)[1][3]
    return [f"The models disagree on {count_text(disagree)} of {count_text(content.labels.size)} test images."]


def _one_training(content: ReportContent) -> str:
    best = max(content.models, key=_accuracy_or_less)
    right, n = int(best.scores["true_positive"]) + int(best.scores["true_negative"]), content.labels.size
    text = "Another seed, another split or another clinic gives other numbers."
    if not n:
        return text
    low, high = wilson_interval(right, n)
    text = (
        f"{text} From the choice of {count_text(n)} test images alone, {best.title}'s accuracy of "
        f"{score_text(right / n)} has a 95 % interval (Wilson) from {low:.3f} to {high:.3f}."
    )
    if len(content.models) == 1:
        return text
    return (
        f"{text} Whether two models differ by more than chance takes a test of both on the same images, not made here."
    )


def _accuracy_or_less(model: ModelResult) -> float:
    value = float(model.scores["accuracy"])
    return -1.0 if math.isnan(value) else value


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


FILTERS: dict[str, Callable[..., str]] = {
    "count": count_text,
    "rate": rate_text,
    "duration": duration_text,
    "large": large_text,
    "score": score_text,
    "interval": interval_text,
}
