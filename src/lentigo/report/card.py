"""Model cards: what a run's files say of one network, in the headings of Mitchell et al. 2019, filled by no hand.

Source: Mitchell et al. 2019, "Model Cards for Model Reporting", FAT*, doi:10.1145/3287560.3287596.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lentigo.config import Experiment
from lentigo.evidence.assessment import Assessment
from lentigo.evidence.operating_points import sentence
from lentigo.report import texts
from lentigo.report.evidence import Evidence
from lentigo.report.evidence_words import calibration_sentence, external_sentence, stress_sentence

USE = (
    "Research on how well networks tell malignant from benign skin lesions on dermoscopy images, and on what their "
    "scores are worth."
)
NOT_FOR = (
    "Diagnosis, triage or screening of people. It is no medical device. A low probability does not rule out melanoma, "
    "and nothing it says means that a lesion is harmless. It was not made for photographs from phones, nor for any "
    "image unlike its training images."
)
_SHORT = {"f1": "F1", "auc": "AUC"}
UNKNOWN = "Not in the run's files: who took the images, of whom, with what devices, and how the labels were found."


@dataclass(frozen=True, kw_only=True)
class Card:
    """One network's card: headings and texts, in order."""

    title: str
    facts: tuple[tuple[str, str], ...]

    def markdown(self) -> str:
        """The card as a Markdown file."""
        lines = [f"# Model card: {self.title}", ""]
        for heading, text in self.facts:
            lines += [f"## {heading}", "", text, ""]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card is filled from, of one run."""

    name: str  # as in the evidence
    experiment: Experiment
    about: Mapping[str, Any]  # run.json
    data: str
    counts: Mapping[str, Mapping[str, int]]  # part of the split -> class -> images
    protocol: str
    audit_sentence: str  # empty: not audited
    findings: Sequence[tuple[str, str]]  # of the audit: severity and text


def model_card(facts: CardFacts, evidence: Evidence) -> Card:
    """The card of one network."""
    title, found = evidence.titles[facts.name], evidence.assessments[facts.name]
    return Card(
        title=title,
        facts=(
            ("Intended use", USE),
            ("Not for", NOT_FOR),
            ("The network", _network(facts, title)),
            ("Training", _training(facts)),
            ("Data", _data(facts)),
            ("Scores on its test images", _scores(found)),
            ("Probabilities", texts.capital(calibration_sentence(found))),
            ("Thresholds", _thresholds(found)),
            ("Subgroups", _subgroups(found)),
            ("On other data", _external(facts.name, evidence)),
            ("On changed images", _stress(facts.name, evidence)),
            ("Known limits", _limits(facts)),
        ),
    )


def _network(facts: CardFacts, title: str) -> str:
    model, about = facts.experiment.model, facts.about
    options = ", ".join(f"{key} {value:g}" for key, value in model.options.items())
    start = "published ImageNet weights" if model.weights == "imagenet" else "random weights"
    size = f" with {options}" if options else ""
    return f"{title}{size}, {texts.count_text(int(about['parameters']))} trainable parameters, trained from {start}."


def _training(facts: CardFacts) -> str:
    train, about = facts.experiment.train, facts.about
    text = (
        f"{about['epochs']} of {about['epochs_asked']} epochs, {texts.count_text(int(about['steps']))} steps, Adam at "
        f"{train.learning_rate:g}, batches of {train.batch_size}, seed {facts.experiment.seed}, "
        f"{texts.duration_text(float(about['seconds']))} on {about['device']}."
    )
    return text if about["complete"] else f"{text} The training was stopped early."


def _data(facts: CardFacts) -> str:
    parts = [
        f"{part} {texts.count_text(count['benign'])} benign and {texts.count_text(count['malignant'])} malignant"
        for part, count in facts.counts.items()
        if part in ("train", "validation", "test") and any(count.values())
    ]
    return f"{facts.data}, split by the protocol {facts.protocol}: {'; '.join(parts)}."


def _scores(found: Assessment) -> str:
    shown = ", ".join(
        f"{_SHORT.get(key, key)} {texts.interval_text(interval)}" for key, interval in found.scores.items()
    )
    return (
        f"{texts.count_text(found.n)} images, {texts.count_text(found.n_malignant)} malignant; malignant is called "
        f"from a probability of 0.5 on: {shown}. In brackets 95 % intervals."
    )


def _thresholds(found: Assessment) -> str:
    if not found.points:
        return "None."
    told = " ".join(f"{texts.capital(point.threshold.title)}: {sentence(point)}" for point in found.points)
    return f"{told} The share of malignant moles among the people is assumed, not measured."


def _subgroups(found: Assessment) -> str:
    if not found.subgroups:
        return "Unknown: nothing is known of the images by which they could be grouped."
    told = []
    for subgroups in found.subgroups:
        aucs = [
            f"{score.name} {texts.interval_text(score.auc)}"
            for score in subgroups.scores
            if "auc" not in score.unjudged
        ]
        told.append(
            f"by {subgroups.column.lower()}: {', '.join(aucs) or 'no subgroup with enough images of both classes'}"
        )
    return f"AUC {'; '.join(told)}."


def _external(name: str, evidence: Evidence) -> str:
    if not evidence.externals:
        return "Unknown: it was scored on no other data."
    return " ".join(
        f"On {external.name} {external_sentence(external, evidence, name)}" for external in evidence.externals
    )


def _stress(name: str, evidence: Evidence) -> str:
    kept = evidence.stress.get(name)
    return "Unknown: it was not tested." if kept is None else stress_sentence(evidence.titles[name], kept.result)


def _limits(facts: CardFacts) -> str:
    serious = [text for severity, text in facts.findings if severity == "serious"]
    audit = facts.audit_sentence or "The data were not audited."
    return " ".join([audit, *serious, UNKNOWN])
