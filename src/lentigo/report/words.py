"""Numbers and findings of the report as text. Every sentence is computed from the content; none is a verdict."""

import math

import numpy as np
from jaxtyping import Bool

from lentigo.evidence.intervals import wilson_interval
from lentigo.report.content import ModelResult, Numbers, ReportContent
from lentigo.report.evidence import Evidence
from lentigo.report.evidence_words import best_sentence, chance_sentences
from lentigo.report.texts import count_text, listed, score_text

DISCLAIMER = (
    "Research software, not a medical device. No number or picture on this page says that a lesion is harmless; "
    "a low probability does not rule out melanoma. Have a physician look at a spot that changes or worries you."
)
_NUMBER_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


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
    told = (*_auc_sentences(content), *_missed_sentence(content), *_disagreement_sentence(content))
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
        (
            "One data set, one split" if _several_seeds(content) else "One data set, one split, one training",
            _one_training(content),
        ),
        ("The origin of the images", origin),
        ("Whom it was tried on", _whom(content.evidence)),
        ("The threshold", _threshold(content.evidence)),
        (
            "The heat maps",
            "A map is as coarse as its cells, and its smooth edges are interpolation. A map on the lesion does not "
            "prove a decision right: what a network makes of the lesion, no map shows.",
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


def _auc_sentences(content: ReportContent) -> list[str]:
    models = content.models
    ranked = sorted(
        (model for model in models if not math.isnan(model.scores["auc"])), key=lambda m: -float(m.scores["auc"])
    )
    if not ranked:
        return ["The AUC is undefined, since the test images are of one class."]
    shown = [score_text(model.scores["auc"]) for model in ranked]
    tested = [] if content.evidence is None else [best_sentence(content.evidence), *chance_sentences(content.evidence)]
    if len(models) == 1:
        return [f"{ranked[0].title} reaches an AUC of {shown[0]}.", *filter(None, tested)]
    best = [model.title for model, text in zip(ranked, shown, strict=True) if text == shown[0]]
    others = [f"{m.title} ({text})" for m, text in zip(ranked, shown, strict=True) if text != shown[0]]
    if not others:
        return [f"All have the same AUC, {shown[0]}, to three digits.", *filter(None, tested)]
    has = "has" if len(best) == 1 else "share"
    first = f"{listed(best)} {has} the highest AUC, {shown[0]}, followed by {listed(others)}."
    if content.evidence is None:
        apart = float(ranked[0].scores["auc"]) - float(ranked[-1].scores["auc"])
        return [first, f"Best and worst lie {apart:.3f} apart; whether that is more than chance is not tested here."]
    return [first, *filter(None, tested)]


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


def _several_seeds(content: ReportContent) -> bool:
    return content.evidence is not None and bool(content.evidence.repeats)


def _whom(evidence: Evidence | None) -> str:
    phones = "photographs from phones" if evidence is None or not evidence.externals else "images from elsewhere"
    columns = [] if evidence is None else [
        subgroups.column.lower() for subgroups in next(iter(evidence.assessments.values())).subgroups
    ]  # fmt: skip
    if not columns:
        return (
            f"No subgroup is scored. On some skin tones, ages, body sites or cameras, and on {phones}, the models may "
            "do worse than the table says."
        )
    return (
        f"Subgroups are scored by {listed(columns)}. What the table does not tell of the images is not looked at, and "
        f"on {phones} the models may do worse than it says."
    )


def _threshold(evidence: Evidence | None) -> str:
    text = (
        "In the table of scores an image is called malignant from a probability of 0.5 on, as in the paper. That "
        "weighs a missed melanoma like a needless excision; it is nobody's clinical choice."
    )
    if evidence is None:
        return f"{text} The probabilities are not calibrated."
    return f"{text} Which of the other thresholds would be right is a question of what a miss and an alarm cost."


def _one_training(content: ReportContent) -> str:
    best = max(content.models, key=_accuracy_or_less)
    right, n = int(best.scores["true_positive"]) + int(best.scores["true_negative"]), content.labels.size
    text = "Another seed, another split or another clinic gives other numbers."
    if _several_seeds(content):
        text = "Another split or another clinic gives other numbers."
    if not n:
        return text
    low, high = wilson_interval(right, n)
    text = (
        f"{text} From the choice of {count_text(n)} test images alone, {best.title}'s accuracy of "
        f"{score_text(right / n)} has a 95 % interval (Wilson) from {low:.3f} to {high:.3f}."
    )
    if len(content.models) == 1 or content.evidence is not None:
        return text
    return (
        f"{text} Whether two models differ by more than chance takes a test of both on the same images, not made here."
    )


def _accuracy_or_less(model: ModelResult) -> float:
    value = float(model.scores["accuracy"])
    return -1.0 if math.isnan(value) else value
