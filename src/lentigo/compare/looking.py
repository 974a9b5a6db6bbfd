"""Where the networks of a comparison look: each explained unless it is, then all measured on the same images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from lentigo.compare.content import Comparison
from lentigo.config import Experiment
from lentigo.data.copies import Bar
from lentigo.data.split import groups_of
from lentigo.errors import DataError
from lentigo.explain.looks import Looks, Maps, compare_looks
from lentigo.explain.stage import GRAD_CAM, ExplainOptions, explain_run, read_explanation, read_maps
from lentigo.explain.survey import survey_images, survey_key
from lentigo.explain.trust_pairs import TrustPair, trust_pairs
from lentigo.learn.device import choose_device
from lentigo.learn.evaluation import network_of
from lentigo.learn.run import TrainingData
from lentigo.models.registry import model_entry
from lentigo.report.gather import FinishedRun

SECOND = "hires_cam"  # cheap, and exact where the head is one linear layer, as Tiny VGG's: there Grad-CAM is not


def explain(comparison: Comparison, experiment: Experiment, data: TrainingData, folder: Path, bar: Bar) -> None:
    """Explain a run's test images, unless that is there for these images, weights and masks."""
    test = data.split.indices(data.table, "test")
    table, pack = data.table.subset(test), data.pack.subset(test)
    if _explained(folder, table.ids, survey_key(table, pack, segmenter=comparison.segmenter)):
        return
    explain_run(
        folder,
        data.table,
        data.pack,
        data.split,
        options=ExplainOptions(methods=(SECOND,), segmenter=comparison.segmenter, seed=experiment.seed),
        device=choose_device(experiment.train.device),
        cache=comparison.cache,
        bar=bar,
    )


def look(comparison: Comparison, runs: Sequence[FinishedRun], data: TrainingData, bar: Bar) -> tuple[Looks, Looks]:
    """All networks' looks on the same test images, at the same cells too: by Grad-CAM, and by `SECOND`."""
    test: Int64[np.ndarray, " image"] = data.split.indices(data.table, "test")
    table, pack = data.table.subset(test), data.pack.subset(test)
    with bar("surveying lesions", len(table)) as told:
        survey = survey_images(table, pack, segmenter=comparison.segmenter, cache=comparison.cache, progress=told)
    groups = np.array(groups_of(data.table), dtype=np.int64)[test]

    def compared(method: str) -> Looks:
        models = {
            run.name: Maps(
                title=model_entry(run.name).title,
                maps=read_maps(run.folder, method),
                preprocessing=run.preprocessing,
            )
            for run in runs
        }
        return compare_looks(models, survey, table.labels, groups=groups, seed=comparison.experiments[0].seed)

    return compared(GRAD_CAM), compared(SECOND)


def trust(comparison: Comparison, runs: Sequence[FinishedRun], data: TrainingData) -> tuple[TrustPair, ...]:
    """Every pair of networks tested on the background's share and on how far the maps tell the truth."""
    groups = dict(zip(data.table.ids, groups_of(data.table), strict=True))
    explanations = {run.name: run.explanation.about for run in runs}
    return trust_pairs(explanations, groups=groups, seed=comparison.experiments[0].seed)


def _explained(folder: Path, ids: list[str], survey: str) -> bool:
    if not (folder / "localisation.csv").is_file() or not (folder / "explanation.json").is_file():
        return False
    try:
        kept, second = read_explanation(folder), read_maps(folder, SECOND)
    except DataError:
        return False  # damaged, or not there: it is made again
    same = kept.about.get("checkpoint") == network_of(folder) and kept.about.get("survey") == survey
    # The second method's maps must be of the same call, or they may be an earlier network's.
    whole = SECOND in kept.about.get("other_methods", ()) and {"background", "faithfulness"} <= set(kept.about)
    return same and whole and list(kept.ids) == ids and len(second) == len(ids)
