"""The tables of this folder's README, from the evidence.json of comparisons.

Run: python results/evidence/tables.py results/evidence/paper.json
"""

import json
import sys
from pathlib import Path
from typing import Any

SCORES = {"auc": "AUC", "accuracy": "accuracy", "recall": "sensitivity", "specificity": "specificity", "f1": "F1"}


def main(path: Path) -> None:
    """Print every table as Markdown."""
    found = json.loads(path.read_text())
    models = found["models"]
    rows([["network", *SCORES.values(), "partial AUC"]] + [
        [name, *(span(model["scores"][key]) for key in SCORES), span(model["partial_auc"])]
        for name, model in models.items()
    ])  # fmt: skip
    rows([["pair", "score", "difference", "p", "p (Holm)", "method"]] + [
        [f"{pair['a']} less {pair['b']}", key, span(test, "difference"), number(test["p_value"], 4),
         number(pair["adjusted"][key], 4), test["method"]]
        for pair in found["pairs"] for key, test in pair["tests"].items()
    ])  # fmt: skip
    rows([["network", "", "temperature", "calibration error", "slope", "intercept", "Brier"]] + [
        [name, when, number(model["decisions"]["temperature"], 2),
         *(span(part[key]) for key in ("ece", "slope", "intercept", "brier"))]
        for name, model in models.items() for when, part in model["calibration"].items() if part
    ])  # fmt: skip
    rows([["network", "threshold", "sensitivity", "specificity", "PPV", "NPV", "needed to biopsy", "of 1,000: sent",
           "missed"]] + [
        [name, point["threshold"]["title"], span(point["sensitivity"]), span(point["specificity"]),
         span(point["ppv"], digits=4), span(point["npv"], digits=4), span(point["needed_to_biopsy"], digits=1),
         number(point["sent"], 0), number(point["missed"], 2)]
        for name, model in models.items() for point in model["operating_points"]
    ])  # fmt: skip
    for name, external in {"test": {"models": models}, **found["external"]}.items():
        subgroups(name, external["models"])
    for name, external in found["external"].items():
        print(f"{name}: {external['images']} images, left out {external['left_out']}\n")
        rows([["network", "images", "malignant", *SCORES.values(), "calibration error", "at sensitivity 0.95"]] + [
            [key, model["n"], model["n_malignant"], *(span(model["scores"][s]) for s in SCORES),
             span((model["calibration"]["after"] or model["calibration"]["before"])["ece"]), at_95(model)]
            for key, model in external["models"].items()
        ])  # fmt: skip
    for name, kept in found["stress"].items():
        stress(name, kept)


def subgroups(where: str, models: dict[str, Any]) -> None:
    for name, model in models.items():
        rows([[f"{where}, {name}", "images", "malignant", "AUC", "sensitivity", "specificity", "warning"]] + [
            [f"{column['column']}: {score['name']}", score["n"], score["n_malignant"],
             *(span(score[key]) for key in ("auc", "sensitivity", "specificity")), score["warning"]]
            for column in model["subgroups"] for score in column["scores"]
        ])  # fmt: skip


def stress(name: str, kept: dict[str, Any]) -> None:
    result = kept["result"]
    flips = 100 * result["mean_flip_rate"]
    print(f"{name}: {kept['images']} images, {span(result['relative_auc'])} of the AUC left, {flips:.1f} % flips\n")
    changes = list(dict.fromkeys(score["change"] for score in result["scores"]))
    rows([["change", "AUC at 1", "2", "3", "4", "5", "left", "flips"]] + [
        [change, *(number(s["auc"], 3) for s in result["scores"] if s["change"] == change),
         number(result["by_change"][change]["relative_auc"], 3),
         f"{100 * result['by_change'][change]['flip_rate']:.1f} %"]
        for change in changes
    ])  # fmt: skip


def at_95(model: dict[str, Any]) -> str:
    point = next((p for p in model["operating_points"] if p["threshold"]["name"] == "sensitivity_0.95"), None)
    return (
        ""
        if point is None
        else f"{number(point['sensitivity']['value'], 3)} / {number(point['specificity']['value'], 3)}"
    )


def span(interval: dict[str, Any], key: str = "value", *, digits: int = 3) -> str:
    if interval[key] is None:
        return ""
    value = number(interval[key], digits)
    return (
        value
        if interval["low"] is None
        else f"{value} ({number(interval['low'], digits)} to {number(interval['high'], digits)})"
    )


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def rows(table: list[list[Any]]) -> None:
    head, *body = table
    print("| " + " | ".join(map(str, head)) + " |")
    print("|" + "---|" * len(head))
    for row in body:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
