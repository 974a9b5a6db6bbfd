"""The tables of this folder's README, from what `measure.py` wrote.

Run: python results/explain/tables.py results/explain/kaggle10605.json
"""

import json
import sys
from pathlib import Path
from typing import Any

MEASURES = {
    "inside": "inside",
    "density": "inside by area",
    "pointing": "strongest point inside",
    "best_iou": "best overlap",
    "pixel_auc": "AUC of pixels",
}


def main(path: Path) -> None:
    """Print every table as Markdown."""
    found = json.loads(path.read_text())
    compared = {name: looks for name, looks in found.items() if isinstance(looks, dict) and "looks" in looks}
    for name, looks in compared.items():
        print(f"\n## {name}: {looks['together']} of {looks['images']} images; the paper's verdict {looks['paper']}")
        of_looks(looks)
    titles = {name: look["title"] for looks in compared.values() for name, look in looks["looks"].items()}
    background, within, faithful, layers = [], [], [], []
    for name, run in found["runs"].items():
        told = run["background"]
        background += of_fills(titles[name], told.get("fills", {}))
        for source, fills in told.get("within", {}).items():
            within += of_fills(f"{titles[name]}, {source}", fills)
        if curves := run["faithfulness"].get("curves"):
            faithful += of_curves(titles[name], curves)
            layers.append(of_checks(titles[name], run["faithfulness"]))
    shares = ["network", "replaced by", "background's share", "turn without background", "turn without lesion",
              "AUC, whole", "without background", "without lesion"]  # fmt: skip
    rows([shares, *background])
    rows([shares, *within])
    rows([["network", "pixels", "deletion", "by chance", "p", "insertion", "by chance", "p"], *faithful])
    rows([["network", "HiResCAM", "occlusion", "last layer lost", "all but the first layer lost", "all lost",
           "shift of 1 %", "of 3 %"], *layers])  # fmt: skip


def of_looks(looks: dict[str, Any]) -> None:
    cells = f"{looks['cells']} x {looks['cells']}"
    maps = [
        [look["title"], *(f"{look['common'][key]['value']:.3f}" for key in MEASURES)]
        for look in looks["looks"].values()
    ]
    rows([[f"map, {cells} cells", *MEASURES.values()], *maps])
    pairs = []
    for pair in (*looks["pairs"], *looks["against_centre"]):
        difference = pair["differences"]["inside"]["difference"]
        pairs.append(
            [f"{pair['first']} less {pair['second']}", span(difference, "+"), p_text(pair["adjusted"]["inside"])]
        )
    rows([["difference of `inside`", "95 %", "p"], *pairs])
    lies = [
        [look["title"], *(lies_on(*found) for found in look["artefacts"].values())]
        for look in looks["looks"].values()
        if look.get("artefacts")
    ]
    rows([["share on, of the area of", "frame", "hair", "ruler"], *lies])


def lies_on(share: dict[str, Any], area: dict[str, Any]) -> str:
    return "–" if share["value"] is None else f"{span(share)} of {area['value']:.3f}"


def of_fills(title: str, fills: dict[str, Any]) -> list[list[str]]:
    return [
        [title, name, span(fill["mean_share"]), percent(fill["flips_without_background"]),
         percent(fill["flips_without_lesion"]), span(fill["auc"]), span(fill["auc_without_background"]),
         span(fill["auc_without_lesion"])]
        for name, fill in fills.items()
    ]  # fmt: skip


def of_curves(title: str, curves: dict[str, Any]) -> list[list[str]]:
    table = []
    for kind, curve in curves.items():
        ways = [curve[way] for way in ("deletion", "insertion")]
        cells = [[way["area"]["value"], way["random"]["value"], way["p_value"]] for way in ways]
        table.append([title, kind, *(f"{value:.3f}" for way in cells for value in way)])
    return table


def of_checks(title: str, found: dict[str, Any]) -> list[str]:
    """Rank correlations with the network's own Grad-CAM maps."""
    layers = [layer["correlation"]["value"] for layer in found["layers"]]
    values = [found["agreement"]["HiResCAM"]["value"], found["agreement"]["Occlusion"]["value"]]
    values += [layers[0], layers[-2], layers[-1], *(shift["value"] for shift in found["stability"].values())]
    return [title, *(f"{value:.2f}" for value in values)]


def span(found: dict[str, Any], sign: str = "") -> str:
    if found["value"] is None:
        return "–"
    bounds = "" if found["low"] is None else f" ({found['low']:{sign}.3f} to {found['high']:{sign}.3f})"
    return f"{found['value']:{sign}.3f}{bounds}".replace("-", "−")


def percent(found: dict[str, Any]) -> str:
    return f"{100 * found['value']:.1f} %"


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def rows(table: list[list[str]]) -> None:
    if len(table) > 1:
        print()
        for place, row in enumerate(table):
            print("| " + " | ".join(row) + " |" + ("\n" + "|---" * len(row) + "|" if not place else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
