"""Several trained networks' looks on the same images, by experts' masks and by automatic ones; numbers only.

Run: python results/explain/measure.py OUT [--cache FOLDER] RUN...

Every RUN was explained by `lentigo explain RUN --method hires_cam`, and with `--data OTHER` on other data. For the
runs' own test images, and for every other data set that all runs were explained on, the networks are compared on

* the images with an expert's mask, by that mask;
* the same images, by HiResCAM in place of Grad-CAM: does the answer hang on the method?
* the same images, by the mask that image processing finds: does it hang on who drew the mask?
* the images without an expert's mask, by the automatic one.

Writes OUT/<data>.json with these and the runs' background and faithfulness, without the ids of single images.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lentigo.config import read_experiment
from lentigo.data.pack import pack_images
from lentigo.data.split import groups_of
from lentigo.data.table import ImageTable, read_table
from lentigo.explain.looks import Maps, compare_looks
from lentigo.explain.stage import GRAD_CAM, read_explanation, read_maps
from lentigo.explain.survey import survey_images
from lentigo.files import read_json, write_json
from lentigo.learn.training import read_run
from lentigo.models.registry import model_entry, resolve_preprocessing

SHARED = Path("../shared/data")


def main(out: Path, runs: list[Path], cache: Path | None) -> None:
    """Measure on every data set that all runs were explained on."""
    own = read_table(Path(read_json(runs[0] / "run.json")["data"]["path"]))
    _, split = read_run(runs[0], own)
    test = split.indices(own, "test")
    measure(out, own.name, own.subset(test), {run.name: run for run in runs}, runs, cache)
    for name in sorted(path.name for path in SHARED.iterdir() if path.name != own.name):
        folders = {run.name: found[0] for run in runs if (found := list((run / "evaluations").glob(f"{name}-*")))}
        if len(folders) == len(runs) and all((folder / "explanation.json").is_file() for folder in folders.values()):
            measure(out, name, read_table(SHARED / name, one_class=True), folders, runs, cache)


def measure(
    out: Path, name: str, table: ImageTable, folders: dict[str, Path], runs: list[Path], cache: Path | None
) -> None:
    """The comparisons on one data set, into OUT/<name>.json."""
    explained = {model: read_explanation(folder) for model, folder in folders.items()}
    ids = next(iter(explained.values())).ids
    assert all(found.ids == ids for found in explained.values()), f"{name}: the runs were explained on other images"
    place = {image: row for row, image in enumerate(table.ids)}
    table = table.subset([place[image] for image in ids])
    pack = pack_images(table, image_px=300, cache=cache)
    bare = replace(table, rows=tuple(replace(row, mask="") for row in table.rows))
    drawn = np.array([bool(row.mask) for row in table.rows])
    kinds = {
        "experts' masks": (table, drawn, GRAD_CAM),
        "experts' masks, HiResCAM": (table, drawn, "hires_cam"),
        "the same images, automatic masks": (bare, drawn, GRAD_CAM),
        "images without an expert's mask": (bare, ~drawn, GRAD_CAM),
    }
    content: dict[str, Any] = {"data": name, "images": len(table), "malignant": int(table.labels.sum())}
    for kind, (of_masks, among, method) in kinds.items():
        if not among.any():
            continue
        rows = np.flatnonzero(among)
        survey = survey_images(of_masks, pack, cache=cache).of(rows)
        models = {run.name: maps_of(run, folders[run.name], method, rows) for run in runs}
        groups = np.array(groups_of(table), dtype=np.int64)[rows]
        content[kind] = compare_looks(models, survey, table.labels[rows], groups=groups).to_dict()
        tell(name, kind, content[kind])
    content["runs"] = {model: without_ids(found.about) for model, found in explained.items()}
    write_json(out / f"{name}.json", content)


def maps_of(run: Path, folder: Path, method: str, rows: np.ndarray) -> Maps:
    """A network's maps of some of the images in a folder; its weights are not needed."""
    experiment = read_experiment(run / "experiment.toml")
    title, seed = model_entry(experiment.model.name).title, experiment.seed
    return Maps(
        title=f"{title}, seed {seed}" if seed else title,
        maps=np.asarray(read_maps(folder, method)[rows]),
        preprocessing=resolve_preprocessing(experiment.model, experiment.preprocessing),
    )


def without_ids(about: dict[str, Any]) -> dict[str, Any]:
    kept = {
        key: about[key] for key in ("method", "rows", "columns", "images", "empty_for_malignant", "empty_for_benign")
    }
    kept["background"] = about.get("background", {})
    kept["faithfulness"] = {key: value for key, value in about.get("faithfulness", {}).items() if key != "ids"}
    return kept


def tell(name: str, kind: str, looks: dict[str, Any]) -> None:
    print(f"\n{name}, {kind}: {looks['images']} images, {looks['together']} together; {looks['masks']}")
    print(f"  the paper's verdict: {looks['paper']}")
    for model, look in looks["looks"].items():
        values = "  ".join(f"{measure} {value['value']:.3f}" for measure, value in look["common"].items())
        print(f"{model:10} {looks['cells']}x{looks['cells']}: {values}")
    for pair in (*looks["pairs"], *looks["against_centre"]):
        found, p = pair["differences"]["inside"]["difference"], pair["adjusted"]["inside"]
        bounds = f"{found['low']:+.3f} to {found['high']:+.3f}"
        print(f"  {pair['first']} less {pair['second']}: {found['value']:+.3f} ({bounds}), p {p:.4f}")


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = Path(words.pop(words.index("--cache") + 1)) if "--cache" in words else None
    words = [word for word in words if word != "--cache"]
    main(Path(words[0]), [Path(word) for word in words[1:]], folder)
