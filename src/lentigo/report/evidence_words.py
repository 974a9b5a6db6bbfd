"""The evidence in sentences, for the report and the terminal. Each is computed from the numbers; none is a verdict."""

import math
from collections.abc import Sequence

from lentigo.evidence.assessment import Assessment
from lentigo.evidence.comparison import PairComparison
from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.operating_points import sentence
from lentigo.evidence.stress import StressResult
from lentigo.evidence.subgroups import Gap
from lentigo.report.evidence import Evidence, ExternalSet
from lentigo.report.texts import count_text, interval_text, listed, percent_text

LEVEL = 0.05
CHANCE = 0.5
_TOLD = {"auc": "AUC", "accuracy": "accuracy"}  # the scores of which a sentence speaks


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
    images = f"{count_text(evidence.assessments[pair.a].n)} images"
    auc, accuracy = pair.adjusted["auc"], pair.adjusted["accuracy"]
    if math.isnan(auc) or math.isnan(accuracy):
        return f"{a} and {b}, on these {images}: {'; '.join(_without_names(pair))}."
    apart = [score for score in _TOLD if _is_apart(pair, score)]
    if not apart:
        return (
            f"{a} and {b} cannot be told apart on these {images}, {p_text(auc)} for the AUC and {p_text(accuracy)} "
            "for the accuracy."
        )
    parts = [_advantage(pair, score, a, b) for score in apart]
    parts += [
        f"by {_TOLD[score]} they cannot be told apart, {p_text(pair.adjusted[score])}"
        for score in _TOLD
        if score not in apart
    ]
    return f"On these {images} {'; '.join(parts)}."


def best_sentence(evidence: Evidence) -> str:
    """Whether the network with the highest AUC is more than chance above the others; empty for a single one."""
    aucs = {name: found.scores["auc"].value for name, found in evidence.assessments.items()}
    known = {name: value for name, value in aucs.items() if not math.isnan(value)}
    if len(known) < 2 or not evidence.pairs:
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


def calibration_sentence(assessment: Assessment) -> str:
    """How far the probabilities can be taken at their word, as given and at the temperature; of no name."""
    before, after, decisions = assessment.before, assessment.after, assessment.decisions
    if before is None or math.isnan(before.ece.value):
        return "no calibration can be given."
    text = f"the probabilities are off by {interval_text(before.ece)} on average"
    if not math.isnan(before.slope.value):
        if before.slope.high < 1:
            text += f"; they are too sure of themselves (slope {interval_text(before.slope)}, 1 is best)"
        elif before.slope.low > 1:
            text += f"; they are too timid (slope {interval_text(before.slope)}, 1 is best)"
    if after is None:
        return f"{text}. There is no temperature: {decisions.reason.removeprefix('no temperature fits: ')}."
    return (
        f"{text}. At the temperature {decisions.temperature:.2f}, which was fitted on {count_text(decisions.n)} "
        f"validation images, they are off by {interval_text(after.ece)}."
    )


def subgroup_sentences(evidence: Evidence) -> list[str]:
    """Gaps between subgroups that chance does not explain: p values times all pairs of all columns and scores."""
    found = []
    for name, assessment in evidence.assessments.items():
        for subgroups in assessment.subgroups:
            for gap in subgroups.clearest:
                if (p := gap_p(gap, assessment)) < LEVEL:
                    score = "AUC" if gap.score == "auc" else gap.score
                    found.append(
                        f"{evidence.titles[name]}, {subgroups.column.lower()}: {score} is "
                        f"{interval_text(gap.difference)} higher for {gap.high} than for {gap.low} ({p_text(p)})."
                    )
    return found


def gap_p(gap: Gap, assessment: Assessment) -> float:
    """The p value of a gap, corrected for all pairs of all columns and scores of one classifier (Bonferroni)."""
    return min(gap.p_alone * subgroup_pairs(assessment), 1.0)


def subgroup_pairs(assessment: Assessment) -> int:
    """Pairs of subgroups that were compared, over all columns and scores."""
    return sum(gap.n_pairs for subgroups in assessment.subgroups for gap in subgroups.clearest)


def external_sentence(external: ExternalSet, evidence: Evidence, name: str) -> str:
    """What became of a network's score on other data; the network is not named."""
    here, there = evidence.assessments[name], external.assessments[name]
    old, new = here.scores["auc"], there.scores["auc"]
    if math.isnan(new.value):
        key, called = ("specificity",) * 2 if there.n_malignant == 0 else ("recall", "sensitivity")
        return (
            f"the images left are of one class, so there is no AUC; at a probability of 0.5 its {called} is "
            f"{interval_text(there.scores[key])} there, and {interval_text(here.scores[key])} on its own test images."
        )
    word = "falls" if new.high < old.low else "rises" if new.low > old.high else "goes"
    text = f"the AUC {word} from {interval_text(old)} to {interval_text(new)}"
    if new.low <= CHANCE <= new.high:
        return f"{text}, not clearly better than a coin."
    return f"{text}, worse than a coin." if new.high < CHANCE else f"{text}."


def external_sentences(external: ExternalSet, evidence: Evidence) -> list[str]:
    """What became of each network's score on other data."""
    return [f"{evidence.titles[name]}: {external_sentence(external, evidence, name)}" for name in external.assessments]


def left_out_sentence(external: ExternalSet, evidence: Evidence) -> str:
    """How many images were left out since the networks had seen them, and how many are their own test images again."""
    text, again = _left_out(external, evidence), max(external.of_test.values(), default=0)
    if not again:
        return text
    are = "is a copy of one of their own test images; it" if again == 1 else "are copies of their own test images; they"
    return f"{text} {count_text(again)} more {are} stayed."


def _left_out(external: ExternalSet, evidence: Evidence) -> str:
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
    lines.append(f"calibration: {calibration_sentence(assessment)}")
    for point in assessment.points:
        lines.append(
            f"{point.threshold.title}: sensitivity {interval_text(point.sensitivity)}, "
            f"specificity {interval_text(point.specificity)}. {sentence(point)}"
        )
    lines += [f"{t.title}: {t.reason}" for t in assessment.decisions.thresholds if math.isnan(t.logit)]
    if assessment.decisions.n == 0:
        lines.append(f"no other threshold: {assessment.decisions.reason}")
    return lines


def left_out_line(total: int, left_out: Sequence[int], unchecked: str, *, of_test: int = 0) -> str:
    """How many images of other data are copies of what a run has seen.

    Args:
        left_out: the label of each of them.
        of_test: copies of the run's own test images, which stay.
    """
    if unchecked:
        return f"whether the network has seen some of these images was not checked: {unchecked}"
    stayed = f"; {count_text(of_test)} are copies of its own test images, and stayed" if of_test else ""
    if not left_out:
        return f"none of {count_text(total)} images is a copy of one of the run's training or validation{stayed}"
    malignant = sum(left_out)
    are = "is a copy of an image" if len(left_out) == 1 else "are copies of images"
    return (
        f"{count_text(len(left_out))} of {count_text(total)} images ({count_text(malignant)} malignant) {are} of the "
        f"run's training or validation; left out, and named in left_out.json{stayed}"
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


def _advantage(pair: PairComparison, score: str, a: str, b: str) -> str:
    test = pair.tests[score]
    ahead = test.difference > 0
    better, worse = (a, b) if ahead else (b, a)
    low, high = (test.low, test.high) if ahead else (-test.high, -test.low)
    by = interval_text(Interval(abs(test.difference), low, high))
    return f"{better} has a higher {_TOLD[score]} than {worse}, by {by}, {p_text(pair.adjusted[score])}"


def _without_names(pair: PairComparison) -> list[str]:
    """What is said of a pair by each score, where one of the scores has no test."""
    found = []
    for score, name in _TOLD.items():
        p, reason = pair.adjusted[score], pair.tests[score].reason
        if math.isnan(p):
            found.append(f"by {name} they cannot be compared ({short_reason(reason)})")
        elif p < LEVEL:
            found.append(f"they differ by {name}, {p_text(p)}")
        else:
            found.append(f"by {name} they cannot be told apart, {p_text(p)}")
    return found


def short_reason(reason: str) -> str:
    """Why something has no value, without the advice on what to do."""
    return reason.partition(";")[0]
