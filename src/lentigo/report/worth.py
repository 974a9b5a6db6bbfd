"""From an audit and finished runs to the part of the report that says what the scores are worth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lentigo.data.beside import best_shortcut, what_follows
from lentigo.data.table import ImageTable
from lentigo.evidence.intervals import Interval
from lentigo.learn.evaluation import standing
from lentigo.models.registry import model_entry
from lentigo.report.content import Standing, Worth
from lentigo.report.gather import FinishedRun

_ALSO_SHOWN = ("thumbnail", "source")  # beside the best shortcut: how little it takes, and what the archive alone says


def worth_of(audit: Mapping[str, Any], runs: Sequence[FinishedRun], table: ImageTable) -> Worth:
    """Networks and probes side by side on the same test images, with the audit's findings.

    Args:
        audit: as audit.json holds it.
        runs: evaluated on the test part of the split that the audit is of.
    """
    probes, verdict = audit["probes"], audit["verdict"]
    shortcut = best_shortcut(probes)
    networks = [_network(run, table) for run in runs]
    shown = [*([shortcut.name] if shortcut else []), *(name for name in _ALSO_SHOWN if name in probes)]
    scored = [probes[name] for name in shown if probes[name]["test_auc"] is not None]
    defined = [network for network in networks if not math.isnan(network.auc.value)]
    follows = [
        (network.title, what_follows(network.auc, shortcut, within=network.within))
        for network in defined
        if shortcut is not None
    ]
    return Worth(
        level=verdict["level"],
        sentence=verdict["sentence"],
        findings=tuple((finding["severity"], finding["text"]) for finding in verdict["findings"]),
        standings=(*networks, *map(_probe, scored)),
        sources=_sources(runs, table),
        follows=_grouped(follows),
    )


def _network(run: FinishedRun, table: ImageTable) -> Standing:
    predictions, metrics = run.evaluation.predictions, run.evaluation.metrics
    beside = standing(predictions, table)
    within = {name: Interval(s["auc"], s["low"], s["high"]) for name, s in beside["within_sources"].items()}
    auc = Interval(metrics["auc"], beside["auc_low"], beside["auc_high"])
    title = model_entry(run.name).title
    return Standing(title=title, sees="", auc=auc, accuracy=metrics["accuracy"], within=within)


def _probe(probe: Mapping[str, Any]) -> Standing:
    return Standing(
        title=probe["title"],
        sees=probe["seen"],
        auc=Interval(*(_number(probe[key]) for key in ("test_auc", "test_low", "test_high"))),
        accuracy=_number(probe["test_accuracy"]),
        within={
            name: Interval(*(_number(score[key]) for key in ("auc", "low", "high")))
            for name, score in probe["within"].items()
        },
    )


def _sources(runs: Sequence[FinishedRun], table: ImageTable) -> tuple[tuple[str, int, int], ...]:
    within = standing(runs[0].evaluation.predictions, table)["within_sources"]
    return tuple((name, score["n"], score["n_malignant"]) for name, score in within.items())


def _grouped(follows: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Each sentence once, with the networks it is true of."""
    titles: dict[str, list[str]] = {}
    for title, sentence in follows:
        titles.setdefault(sentence, []).append(title)
    return tuple(f"{', '.join(names)}: {sentence}" for sentence, names in titles.items())


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
