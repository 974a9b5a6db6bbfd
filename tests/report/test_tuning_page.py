"""The page of a search: true to its trials, whole, safe against hostile names, and fit for a phone."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lentigo.config import Experiment
from lentigo.evidence.comparison import PairedTest
from lentigo.learn.tuning_result import TrialRecord, TuningResult
from lentigo.learn.tuning_space import Dimension, given_configuration, search_space
from lentigo.report import tuning_figures
from lentigo.report.tuning_page import SECTIONS, counts_sentence, headline, limits, render_tuning_page
from tests.report.page_parts import (
    Page,
    assert_all_is_named,
    assert_fits_a_phone,
    assert_loads_nothing,
    assert_no_python,
    assert_whole,
    section,
)

GIVEN = Experiment()
SPACE = search_space("tiny_vgg", GIVEN)


def trial(number: int, auc: float, **changes: Any) -> TrialRecord:
    values = given_configuration(GIVEN, SPACE) | {
        "model.options.blocks": 1 + number % 6,
        "augment.flip_probability": 0.25,
    }
    content = {"number": number, "state": "complete", "configuration": values, "aucs": (0.5, auc), "seconds": 61.0}
    return TrialRecord(**(content | {"low": auc - 0.1, "high": min(auc + 0.05, 1.0)} | changes))


FIRST = trial(0, 0.8, given=True, configuration=given_configuration(GIVEN, SPACE))
TRIALS = (
    FIRST,
    trial(1, 0.75),
    trial(2, 0.6, state="pruned", aucs=(0.55, 0.6), low=math.nan, high=math.nan),
    trial(
        3,
        math.nan,
        state="failed",
        aucs=(),
        low=math.nan,
        high=math.nan,
        reason="the loss is infinite in epoch 1, step 2",
    ),
    trial(4, 0.7, state="interrupted", aucs=(0.7,), low=math.nan, high=math.nan),
    trial(5, 0.912),
    trial(6, math.nan, state="waiting", aucs=(), seconds=math.nan, low=math.nan, high=math.nan),
)


def result_of(trials: tuple[TrialRecord, ...] = TRIALS, **changes: Any) -> TuningResult:
    content = {
        "study": "mine", "search": "x", "storage": "sqlite:///study.db", "data": "moles", "experiment": GIVEN,
        "space": SPACE, "trials": trials, "n_train": 1200, "n_validation": 150, "n_malignant": 60,
        "versions": {"optuna": "5.0.0"}, "asked": 20,
    }  # fmt: skip
    return TuningResult(**(content | changes))


APART = PairedTest(score="auc", difference=0.112, low=-0.01, high=0.234, p_value=0.07, method="DeLong", reason="")
SHARES = {d.key: share for d, share in zip(SPACE, (0.4, 0.3, 0.2, 0.05, 0.02, 0.01, 0.01, 0.01), strict=True)}
FULL = result_of(difference=APART, importances=SHARES)


def page_of(result: TuningResult) -> str:
    return render_tuning_page(result, created="2026-01-02 03:04 UTC", command="lentigo tune moles --out mine")


PAGES = {
    "full": FULL,
    "nothing yet": result_of(trials=TRIALS[6:]),
    "given alone": result_of(trials=TRIALS[:1]),
    "all pruned": result_of(trials=TRIALS[2:4]),
    "many": result_of(trials=tuple(trial(number, 0.9 - number / 100) for number in range(40)) + TRIALS[:0]),
    "hostile": replace(
        FULL,
        study="<script>alert(1)</script>", data='"><img src=x>',
        trials=(*TRIALS, trial(7, math.nan, state="failed", aucs=(), reason="<b>&amp;$x$</b>")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_loads_nothing(name: str) -> None:
    text = page_of(PAGES[name])
    assert_whole(text, [name for name, _ in SECTIONS])
    assert_loads_nothing(text)
    assert_all_is_named(text)
    assert_no_python(text)
    assert "Research software, not a medical device." in Page(text).text
    assert "<script" not in text
    assert page_of(PAGES[name]) == text


def test_the_headline_tells_the_best_against_the_given_experiment() -> None:
    assert headline(FULL) == [
        "The best is trial 5, validation AUC 0.912 (95 % interval 0.812 to 0.962), with blocks 6, width 10, learning "
        "rate 0.0001, flip probability 0.25, jitter probability 0.05, rotate probability 0.05, jitter 0.2, rotate "
        "degrees 10.",
        "The experiment as given came to 0.800 (95 % interval 0.700 to 0.850).",
        "On the same images the difference is +0.112 (−0.010 to +0.234), an interval that does not allow for the "
        "choice among 3.",
    ]
    assert headline(result_of(trials=TRIALS[:2])) == [
        "The one other configuration trained to the end did no better than the experiment as given: validation AUC "
        "0.800 (95 % interval 0.700 to 0.850)."
    ]
    assert headline(result_of(trials=(*TRIALS[:2], trial(7, 0.7))))[0].startswith("None of the 2 other configurations")
    assert headline(PAGES["given alone"])[0].startswith("So far only the experiment as given is trained to its end")
    assert headline(PAGES["nothing yet"]) == [
        "No trial has been trained to its end yet, so there is nothing to choose from."
    ]
    assert headline(PAGES["many"])[1] == (
        "The experiment as given was not trained to its end, so there is nothing to compare it with."
    )


def test_trials_are_counted_without_those_that_another_stands_for() -> None:
    assert counts_sentence(FULL) == "5 trials of 20: 3 trained to the end, 1 pruned, 1 failed."
    assert counts_sentence(PAGES["nothing yet"]) == "No trial has begun."
    assert counts_sentence(PAGES["given alone"]) == "1 trial of 20: 1 trained to the end."


def test_the_table_is_in_order_and_holds_the_given_experiment() -> None:
    def numbers(result: TuningResult) -> list[str]:
        return re.findall(r'<th scope="row">(\d+)', section(page_of(result), "best"))

    assert numbers(FULL) == ["5", "0", "1"]
    assert numbers(PAGES["many"]) == [str(number) for number in range(10)]
    late = result_of(trials=(replace(FIRST, aucs=(0.1,)), *(trial(n, 0.5 + n / 100) for n in range(1, 13))))
    assert numbers(late) == [str(number) for number in range(12, 2, -1)] + ["0"]
    text = Page(page_of(late)).text
    assert "The 10 best of 13 configurations trained to the end, and the experiment as given" in text
    assert "as given, place 13" in text


def test_pruned_and_failed_trials_are_told_with_reasons() -> None:
    told = section(page_of(FULL), "failed")
    assert "1 after 2 epochs." in told
    assert '<th scope="row">3</th><td class="words">the loss is infinite in epoch 1, step 2</td>' in told
    assert "1 trial was interrupted and begun anew under another number." in told
    assert "No trial failed." in section(page_of(PAGES["many"]), "failed")


def test_it_says_that_the_best_of_many_is_too_kind_and_where_a_score_comes_from() -> None:
    text = Page(page_of(FULL)).text
    assert "The best of many validation scores is too kind." in text
    assert "lentigo train DATA --config best.toml --split split.csv --out RUN" in text
    assert "1,200 training and 150 validation images (60 malignant)" in text
    first, second = limits(FULL)[:2]
    assert first[1].startswith("It is the highest of 3 on the same 150 validation images")
    assert second[1].startswith("The validation images are 150, 60 of the rarer class.")


def test_importance_is_shown_where_there_is_any() -> None:
    assert "learning rate: 20 percent" in section(page_of(FULL), "importance")
    few = section(page_of(result_of()), "importance")
    assert "Too few trials were trained to the end (3), or all came to the same AUC" in few
    assert "<svg" not in few


def test_a_trials_line_goes_through_its_values() -> None:
    """In the middle of a range in steps, and at the root of the product of the ends of one in factors."""
    assert tuning_figures._share(1, 6, 3.5, log=False) == 0.5
    assert tuning_figures._share(1e-5, 1e-1, 1e-3, log=True) == pytest.approx(0.5)
    assert tuning_figures._share(0.7, 0.7, 0.7, log=False) == 0.5
    assert tuning_figures.value_text(Dimension(key="a", title="a", low=1e-5, high=1.0), 1e-5) == "1e−5"
    assert tuning_figures.value_text(Dimension(key="a", title="a", low=1, high=9), 3) == "3"


def test_the_best_so_far_never_falls_and_ends_at_the_best() -> None:
    assert tuning_figures.best_so_far(FULL) == ([0, 1, 5], [0.8, 0.8, 0.912])
    assert tuning_figures.best_so_far(PAGES["nothing yet"]) == ([], [])


def test_it_fits_a_phone(tmp_path: Path) -> None:
    assert_fits_a_phone(page_of(PAGES["hostile"]), tmp_path / "page.html")
