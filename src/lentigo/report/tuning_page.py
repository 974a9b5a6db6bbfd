"""A search of hyperparameters as one HTML file that loads nothing: charts as inline SVG, style inside."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lentigo.evidence.intervals import Interval
from lentigo.files import write_text
from lentigo.learn.tuning_result import State, TrialRecord, TuningResult
from lentigo.models.registry import classifier_entry
from lentigo.report import texts, words
from lentigo.report import tuning_figures as figures
from lentigo.report.pieces import page_environment

SHOWN = 10  # configurations in the table
SECTIONS = (
    ("best", "The best configurations"),
    ("space", "What was searched"),
    ("parallel", "All trials side by side"),
    ("importance", "What mattered"),
    ("history", "Trial by trial"),
    ("failed", "Pruned and failed"),
    ("limits", "Limits"),
    ("repeat", "Repeat it"),
)


def write_tuning_page(path: Path, result: TuningResult, *, created: str, command: str) -> None:
    """Write `tuning.html`, whole or not at all. The same input gives the same bytes.

    Raises: DataError: the disk refuses.
    """
    write_text(path, render_tuning_page(result, created=created, command=command))


def render_tuning_page(result: TuningResult, *, created: str, command: str) -> str:
    """The search as HTML text.

    Args:
        created: when, as a reader writes it.
        command: that repeats it, without anything secret.
    """
    return (
        page_environment()
        .get_template("tuning.html")
        .render(
            result=result,
            created=created,
            command=command,
            sections=SECTIONS,
            disclaimer=words.DISCLAIMER,
            model=classifier_entry(result.experiment.model.name).title,
            headline=headline(result),
            counts=counts_sentence(result),
            rows=_rows(result),
            caption=_caption(result),
            space=[(d, *(figures.value_text(d, end) for end in (d.low, d.high))) for d in result.space],
            limits=limits(result),
            **_charts(result),
            **_failures(result),
        )
    )


def headline(result: TuningResult) -> list[str]:
    """What came out, in sentences."""
    best, given = result.best, result.given
    if best is None:
        return ["No trial has been trained to its end yet, so there is nothing to choose from."]
    if given is not None and best.number == given.number:
        others = len(result.complete) - 1
        if not others:
            return [f"So far only the experiment as given is trained to its end: validation AUC {_auc(best)}."]
        which = "The one other configuration" if others == 1 else f"None of the {others} other configurations"
        better = "did no better" if others == 1 else "did better"
        return [f"{which} trained to the end {better} than the experiment as given: validation AUC {_auc(best)}."]
    found = [f"The best is trial {best.number}, validation AUC {_auc(best)}, with {_told(result, best)}."]
    if given is None:
        return [*found, "The experiment as given was not trained to its end, so there is nothing to compare it with."]
    found.append(f"The experiment as given came to {_auc(given)}.")
    apart = result.difference
    if apart is not None and not math.isnan(apart.low):
        found.append(
            f"On the same images the difference is {_signed(apart.difference)} ({_signed(apart.low)} to "
            f"{_signed(apart.high)}), an interval that does not allow for the choice among {len(result.complete)}."
        )
    return found


def counts_sentence(result: TuningResult) -> str:
    """How many trials there are, and what became of them."""
    counts = Counter(trial.state for trial in result.trials if trial.counts)
    named: tuple[tuple[State, str], ...] = (
        ("complete", "trained to the end"),
        ("pruned", "pruned"),
        ("failed", "failed"),
        ("running", "running"),
    )
    parts = [f"{texts.count_text(counts[state])} {name}" for state, name in named if counts[state]]
    total = sum(counts.values())
    if not total:
        return "No trial has begun."
    return f"{texts.count_text(total)} {'trial' if total == 1 else 'trials'} of {result.asked}: {', '.join(parts)}."


def limits(result: TuningResult) -> list[tuple[str, str]]:
    """What the page does not tell."""
    n, few = result.n_validation, min(result.n_malignant, result.n_validation - result.n_malignant)
    return [
        (
            "The best score is too kind",
            f"It is the highest of {max(len(result.complete), 1)} on the same {texts.count_text(n)} validation images, "
            "and some of it is luck. Nor does its interval allow for the choice. What the configuration is worth is "
            "said by test images, which the search has not opened.",
        ),
        (
            "A validation score is rough",
            f"The validation images are {texts.count_text(n)}, {texts.count_text(few)} of the rarer class. "
            "Differences well inside the intervals say nothing about which configuration is better.",
        ),
        (
            "One seed",
            "Each configuration was trained once, from the same first weights and in the same order of images. Another "
            "seed moves every score, and so does the training of best.toml among all images, whose augmentation is "
            "drawn anew; train the best few with several seeds (lentigo compare --seeds) before trusting an order.",
        ),
        (
            "Pruning",
            "A trial whose best AUC so far was below the median of the earlier trials at an epoch was stopped there. "
            "One that learns slowly at first may be lost that way.",
        ),
        (
            "Importance",
            "It is a model’s guess from these trials, inside these ranges; with few trials it changes from search to "
            "search.",
        ),
    ]


def _rows(result: TuningResult) -> list[dict[str, Any]]:
    """The best configurations, and the experiment as given where it is not among them."""
    places = {trial.number: place for place, trial in enumerate(result.complete, 1)}
    shown = result.complete[:SHOWN]
    if result.given is not None and result.given not in shown:
        shown = [*shown, result.given]
    return [
        {
            "trial": trial,
            "place": places[trial.number],
            "auc": texts.score_text(trial.auc),
            "bounds": texts.bounds_text(_interval(trial)),
            "values": [figures.value_text(d, trial.configuration[d.key]) for d in result.space],
            "time": texts.duration_text(trial.seconds),
        }
        for trial in shown
    ]


def _caption(result: TuningResult) -> str:
    done = len(result.complete)
    shown = f"The {SHOWN} best of {texts.count_text(done)}" if done > SHOWN else f"All {texts.count_text(done)}"
    added = result.given is not None and result.given not in result.complete[:SHOWN]
    return f"{shown} configurations trained to the end" + (", and the experiment as given" if added else "")


def _charts(result: TuningResult) -> dict[str, Any]:
    kinds = [figures.BEST, figures.GIVEN, figures.COMPLETE, figures.PRUNED]
    if result.given is None or result.given is result.best:
        kinds.remove(figures.GIVEN)

    def legend(name: str, *more: str) -> list[tuple[Markup, str]]:
        return [
            (Markup(figures.trial_swatch(what, name=f"{name}-legend{place}")), what)
            for place, what in enumerate([*kinds, *more])
        ]

    return {
        "parallel_chart": Markup(figures.parallel_coordinates(result, name="parallel")),
        "parallel_legend": legend("parallel"),
        "importance_chart": Markup(figures.importance_bars(result, name="importance")),
        "history_chart": Markup(figures.history_chart(result, name="history")),
        "history_legend": legend("history", figures.SO_FAR),
    }


def _failures(result: TuningResult) -> dict[str, Any]:
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    failed = [trial for trial in result.trials if trial.state == "failed"]
    return {
        "pruned_after": sorted(Counter(len(trial.aucs) for trial in pruned).items()),
        "failed": [(trial, _told(result, trial)) for trial in failed],
        "interrupted": sum(trial.state == "interrupted" for trial in result.trials),
    }


def _told(result: TuningResult, trial: TrialRecord) -> str:
    known = [d for d in result.space if d.key in trial.configuration]
    return ", ".join(f"{d.title} {figures.value_text(d, trial.configuration[d.key])}" for d in known)


def _interval(trial: TrialRecord) -> Interval:
    return Interval(trial.auc, trial.low, trial.high)


def _auc(trial: TrialRecord) -> str:
    bounds = texts.bounds_text(_interval(trial))
    return texts.score_text(trial.auc) + (f" (95 % interval {bounds})" if bounds else "")


def _signed(value: float) -> str:
    return texts.minus_text(f"{value:+.3f}")
