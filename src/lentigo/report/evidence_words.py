"""The evidence in sentences, for the report and the terminal. Each is computed from the numbers; none is a verdict."""

import math
from collections.abc import Sequence

from lentigo.evidence.assessment import Assessment
from lentigo.evidence.comparison import PairComparison
from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.operating_points import sentence
from lentigo.evidence.stress import StressResult
from lentigo.report.evidence import Evidence, ExternalSet
from lentigo.report.texts import count_text, interval_text, listed

LEVEL = 0.05
CHANCE = 0.5


def p_text(p_value: float) -> str:
    """A p value as journals print it: `p = 0.032`, `p < 0.001`."""
    if math.isnan(p_value):
        return "p undefined"
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.9995 else "p = 1.000"


def pair_sentence(pair: PairComparison, evidence: Evidence) -> str:
    """Whether two networks differ on the images on which both were scored, by AUC and by accuracy."""
    a, b = evidence.titles[pair.a], evidence.titles[pair.b]
    n = evidence.assessments[pair.a].n
    apart = {score: _is_apart(pair, score) for score in ("auc", "accuracy")}
    auc, accuracy = pair.tests["auc"], pair.tests["accuracy"]
    if math.isnan(auc.p_value) and math.isnan(accuracy.p_value):
        return f"{a} and {b} cannot be compared on these {count_text(n)} images: {auc.reason or accuracy.reason}."
    p_auc, p_accuracy = p_text(pair.adjusted["auc"]), p_text(pair.adjusted["accuracy"])
    if not any(apart.values()):
        return (
            f"{a} and {b} cannot be told apart on these {count_text(n)} images, {p_auc} for the AUC and {p_accuracy} "
            "for the accuracy."
        )
    parts = []
    for score, name in (("auc", "AUC"), ("accuracy", "accuracy")):
        test, p = pair.tests[score], p_text(pair.adjusted[score])
        if apart[score]:
            better, worse = (a, b) if test.difference > 0 else (b, a)
            low, high = (test.low, test.high) if test.difference > 0 else (-test.high, -test.low)
            by = interval_text(Interval(abs(test.difference), low, high))
            parts.append(f"{better} has the higher {name} than {worse}, by {by}, {p}")
        else:
            parts.append(f"by {name} they cannot be told apart, {p}")
    return f"On these {count_text(n)} images {parts[0]}; {parts[1]}."


def best_sentence(evidence: Evidence) -> str:
    """Whether the network with the highest AUC is more than chance above the others; empty for a single one."""
    aucs = {name: found.scores["auc"].value for name, found in evidence.assessments.items()}
    known = {name: value for name, value in aucs.items() if not math.isnan(value)}
    if len(known) < 2:
        return ""
    best = max(known, key=lambda name: known[name])
    equals: list[str] = []
    below: list[str] = []
    for pair in evidence.pairs:
        if best in (pair.a, pair.b):
            other = pair.b if pair.a == best else pair.a
            (below if _is_apart(pair, "auc") else equals).append(evidence.titles[other])
    title = evidence.titles[best]
    if not equals:
        return (
            f"On these images {title}'s AUC is above that of {listed(below)} by more than chance explains (DeLong, "
            "Holm)."
        )
    if not below:
        return f"By AUC {title} cannot be told apart from {listed(equals)} on these images (DeLong, Holm)."
    return (
        f"By AUC {title} cannot be told apart from {listed(equals)} on these images, and lies above {listed(below)} "
        "by more than chance explains (DeLong, Holm)."
    )


def chance_sentences(evidence: Evidence) -> list[str]:
    """Networks whose AUC may be a coin's."""
    found = []
    for name, assessment in evidence.assessments.items():
        auc = assessment.scores["auc"]
        if not math.isnan(auc.value) and auc.low <= CHANCE:
            found.append(
                f"{evidence.titles[name]} is not clearly better than chance: its AUC is {interval_text(auc)}, and a "
                "coin has 0.5."
            )
    return found


def calibration_sentence(title: str, assessment: Assessment) -> str:
    """How far the probabilities can be taken at their word, as given and at the temperature."""
    before, after, decisions = assessment.before, assessment.after, assessment.decisions
    if before is None or math.isnan(before.ece.value):
        return f"{title}: no calibration can be given."
    text = f"{title}: the probabilities are off by {interval_text(before.ece)} on average"
    if not math.isnan(before.slope.value):
        if before.slope.high < 1:
            text += f"; they are too sure of themselves (slope {interval_text(before.slope)}, 1 is best)"
        elif before.slope.low > 1:
            text += f"; they are too timid (slope {interval_text(before.slope)}, 1 is best)"
    if after is None:
        return f"{text}. There is no temperature: {decisions.reason.removeprefix('no temperature fits: ')}."
    return (
        f"{text}. Divided by the temperature {decisions.temperature:.2f}, which was fitted on "
        f"{count_text(decisions.n)} validation images, they are off by {interval_text(after.ece)}."
    )


def subgroup_sentences(evidence: Evidence) -> list[str]:
    """Gaps between subgroups that chance does not explain, and subgroups too small to say anything."""
    found = []
    for name, assessment in evidence.assessments.items():
        for subgroups in assessment.subgroups:
            for gap in subgroups.gaps:
                if gap.p_value < LEVEL:
                    score = "AUC" if gap.score == "auc" else gap.score
                    found.append(
                        f"{evidence.titles[name]}, {subgroups.column.lower()}: {score} is "
                        f"{interval_text(gap.difference)} higher for {gap.high} than for {gap.low} "
                        f"({p_text(gap.p_value)}; interval and p value hold for all {count_text(gap.n_pairs)} pairs "
                        "at once)."
                    )
    return found


def external_sentences(external: ExternalSet, evidence: Evidence) -> list[str]:
    """What became of each network's score on other data."""
    found = []
    for name, there in external.assessments.items():
        title, here = evidence.titles[name], evidence.assessments[name]
        old, new = here.scores["auc"], there.scores["auc"]
        if math.isnan(new.value):
            key = "specificity" if there.n_malignant == 0 else "recall"
            found.append(
                f"{title}: the images left are of one class, so there is no AUC; at a probability of 0.5 its "
                f"{'sensitivity' if key == 'recall' else key} is {interval_text(there.scores[key])} there, and "
                f"{interval_text(here.scores[key])} on its own test images."
            )
            continue
        word = "falls" if new.high < old.low else "rises" if new.low > old.high else "goes"
        text = f"{title}: the AUC {word} from {interval_text(old)} to {interval_text(new)}"
        if new.low <= CHANCE <= new.high:
            text += ", no better than a coin"
        elif new.high < CHANCE:
            text += ", worse than a coin"
        found.append(f"{text}.")
    return found


def left_out_sentence(external: ExternalSet, evidence: Evidence) -> str:
    """How many images were left out since the networks had seen them."""
    if reasons := sorted({reason for reason in external.unchecked.values() if reason}):
        return f"Whether the networks had seen some of these images before was not checked: {'; '.join(reasons)}."
    counts = list(dict.fromkeys(external.left_out.values()))
    if len(counts) == 1:
        benign, malignant = counts[0]
        total = benign + malignant
        if not total:
            return f"None of the {count_text(external.n)} images is a copy of one that the networks had seen."
        are, they = ("is a copy of an image", "it was") if total == 1 else ("are copies of images", "they were")
        return (
            f"{count_text(total)} of {count_text(external.n)} images ({count_text(malignant)} malignant) {are} that "
            f"the networks were trained on or their thresholds chosen on, by the audit's search; {they} left out."
        )
    each = ", ".join(
        f"{evidence.titles[name]} {count_text(benign + malignant)}"
        for name, (benign, malignant) in external.left_out.items()
    )
    return f"Left out as copies of images that a network had seen before, by the audit's search: {each}."


def stress_sentence(title: str, result: StressResult) -> str:
    """What changes of the images do to a network, in one sentence."""
    if (name := result.worst) is None:
        return (
            f"{title}: there is no AUC; the decision flips for {100 * result.mean_flip_rate:.1f} % of changed images."
        )
    worst = result.by_change[name]
    return (
        f"{title} keeps {percent_text(result.relative_auc)} of its AUC over all changes and strengths; the decision "
        f"flips for {100 * result.mean_flip_rate:.1f} % of changed images. Worst: {name.replace('_', ' ')} "
        f"({100 * worst.relative_auc:.1f} % of the AUC left)."
    )


def spoken(evidence: Evidence) -> list[str]:
    """What a comparison says on the terminal beside the scores themselves."""
    lines = [pair_sentence(pair, evidence) for pair in evidence.pairs]
    lines += chance_sentences(evidence)
    for name, repeats in evidence.repeats.items():
        if not math.isnan(repeats.mean("auc")):
            lines.append(
                f"{evidence.titles[name]} over seeds {', '.join(map(str, repeats.seeds))}: AUC "
                f"{repeats.mean('auc'):.3f}, standard deviation {repeats.deviation('auc'):.3f}"
            )
    for external in evidence.externals:
        lines.append(f"on {external.name}: {left_out_sentence(external, evidence)}")
        lines += [f"  {text}" for text in external_sentences(external, evidence)]
    lines += [stress_sentence(evidence.titles[name], kept.result) for name, kept in evidence.stress.items()]
    return lines


def assessment_lines(assessment: Assessment) -> list[str]:
    """One network's scores for the terminal."""
    lines = [f"{name:<12}{interval_text(assessment.scores[name])}" for name in REPORTED_SCORES]
    lines.append(
        f"on {count_text(assessment.n)} images, {count_text(assessment.n_malignant)} malignant; 95 % intervals"
    )
    lines.append(calibration_sentence("calibration", assessment))
    for point in assessment.points:
        lines.append(
            f"{point.threshold.title}: sensitivity {interval_text(point.sensitivity)}, "
            f"specificity {interval_text(point.specificity)}. {sentence(point)}"
        )
    lines += [f"{t.title}: {t.reason}" for t in assessment.decisions.thresholds if math.isnan(t.logit)]
    if assessment.decisions.n == 0:
        lines.append(f"no other threshold: {assessment.decisions.reason}")
    return lines


def left_out_line(total: int, left_out: Sequence[int], unchecked: str) -> str:
    """How many images of other data are copies of what a run has seen.

    Args:
        left_out: the label of each of them.
    """
    if unchecked:
        return f"whether the network has seen some of these images was not checked: {unchecked}"
    if not left_out:
        return f"none of {count_text(total)} images is a copy of one of the run's training or validation"
    malignant = sum(left_out)
    return (
        f"{count_text(len(left_out))} of {count_text(total)} images ({count_text(malignant)} malignant) are "
        "copies of images of the run's training or validation; left out, and named in left_out.json"
    )


def stress_lines(result: StressResult, images: int) -> list[str]:
    """A stress test for the terminal: a line a change, the AUC or the share of flips by strength."""
    lines = [f"{'change':<16}AUC at strength 1 to 5{'':<16}flips at 1 to 5"]
    for change in dict.fromkeys(score.change for score in result.scores):
        of_change = [score for score in result.scores if score.change == change]
        aucs = " ".join("  –  " if math.isnan(score.auc) else f"{score.auc:.3f}" for score in of_change)
        flips = " ".join(f"{100 * score.flip_rate:5.1f} %" for score in of_change)
        lines.append(f"{change:<16}{aucs:<38}{flips}")
    clean = "undefined" if math.isnan(result.clean_auc) else f"{result.clean_auc:.3f}"
    lines.append(f"on {count_text(images)} images; AUC without a change {clean}")
    lines.append(stress_sentence("the network", result))
    return lines


def _is_apart(pair: PairComparison, score: str) -> bool:
    return pair.adjusted[score] < LEVEL  # False for NaN


def percent_text(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
