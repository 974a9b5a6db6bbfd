"""The evidence of a comparison: what stands in the folders of its runs, and of the images what the table says."""

from collections.abc import Mapping, Sequence

from lentigo.compare.content import Comparison
from lentigo.data.columns import columns_of
from lentigo.data.copies import Bar
from lentigo.data.pack import pack_images
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.evidence.assessment import Columns, assess
from lentigo.files import write_json
from lentigo.learn.device import choose_device
from lentigo.learn.elsewhere import Elsewhere, copies_of, evaluate_elsewhere
from lentigo.learn.evaluation import Evaluation, decisions_of
from lentigo.learn.run import TrainingData
from lentigo.learn.stress import StressTest, read_stress, stress_run, stress_total
from lentigo.models.registry import model_entry
from lentigo.report.evidence import Evidence, ExternalSet, Scored, Stressed, evidence_of, repeats_of
from lentigo.report.gather import FinishedRun


def check_names(externals: Sequence[tuple[str, ImageTable]]) -> None:
    """Refuse two data sets of one name: a reader could not tell them apart.

    Raises: ConfigError.
    """
    names = [name for name, _ in externals]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--external {', '.join(twice)} is given twice; give every data set a name of its own")


def check_externals(comparison: Comparison, own: TrainingData, bar: Bar) -> None:
    """Refuse, before anything is trained, what could not be scored or told as other data.

    Raises:
        ConfigError: the comparison's own data.
        DataError: an image cannot be read, or every image is a copy of one that networks will be trained on.
    """
    for name, other in comparison.externals:
        with bar(f"decoding {name}", len(other)) as told:
            pack = pack_images(other, image_px=own.pack.image_px, cache=comparison.cache, progress=told)
        if pack.key == own.pack.key:
            raise ConfigError(
                f"--external {name} is the data of the comparison itself; give other data, or leave it out"
            )
        if len(copies_of(own, other, pack, cache=comparison.cache, bar=bar).left_out) == len(other):
            raise DataError(
                f"all {len(other)} images of --external {name} are copies of images of {own.table.name} that train or "
                "validate; nothing would be left to score: give other data"
            )


def gather(
    comparison: Comparison,
    runs: Sequence[FinishedRun],
    repeated: Mapping[str, Mapping[int, Evaluation]],
    own: TrainingData,
    bar: Bar,
) -> Evidence:
    """All evidence on finished runs; what it takes from other data and changed images is made here, unless it is there.

    Args:
        repeated: by model, the scores of each of its trainings by seed; one seed says nothing of spread.
    """
    seed, test = comparison.experiments[0].seed, own.split.indices(own.table, "test")
    columns, estimated = columns_of(own.table.subset(test), own.pack.subset(test), cache=comparison.cache, bar=bar)
    return evidence_of(
        runs[0].evaluation.predictions.labels,
        {
            run.name: Scored(
                title=model_entry(run.name).title,
                logits=run.evaluation.predictions.logits,
                decisions=decisions_of(run.folder),
            )
            for run in runs
        },
        columns,
        prevalence=comparison.prevalence,
        tones_estimated=estimated,
        seed=seed,
        repeats={
            name: repeats_of({seed: evaluation.metrics for seed, evaluation in of_seed.items()})
            for name, of_seed in repeated.items()
            if len(of_seed) > 1
        },
        externals=tuple(_external(comparison, name, other, runs, own, bar) for name, other in comparison.externals),
        stress=_stressed(comparison, runs, own, bar),
    )  # fmt: skip


def _external(
    comparison: Comparison, name: str, table: ImageTable, runs: Sequence[FinishedRun], own: TrainingData, bar: Bar
) -> ExternalSet:
    found: dict[str, Elsewhere] = {}
    for run, experiment in zip(runs, comparison.experiments, strict=True):
        device = choose_device(experiment.train.device)
        found[run.name] = evaluate_elsewhere(
            run.folder, table, name=name, own=own, cache=comparison.cache, device=device, again=False, bar=bar
        )
    assessments = {}
    columns_by_ids: dict[tuple[str, ...], Columns] = {}  # of networks that have seen the same, the images are the same
    for run in runs:
        here = found[run.name]
        ids = tuple(here.table.ids)
        if ids not in columns_by_ids:
            columns_by_ids[ids], _ = columns_of(here.table, here.pack, cache=comparison.cache, bar=bar)
        predictions = here.evaluation.predictions
        assessments[run.name] = assess(
            predictions.labels,
            predictions.logits,
            decisions=decisions_of(run.folder),
            columns=columns_by_ids[ids],
            prevalence=comparison.prevalence,
            seed=comparison.experiments[0].seed,
        )
        write_json(here.folder / "evidence.json", assessments[run.name].to_dict())
    return ExternalSet(
        name=name,
        data=table.name,
        n=len(table),
        left_out={
            key: (sum(i.label == 0 for i in here.left_out), sum(i.label == 1 for i in here.left_out))
            for key, here in found.items()
        },
        of_test={key: here.of_test for key, here in found.items()},
        unchecked={key: here.unchecked for key, here in found.items()},
        assessments=assessments,
    )  # fmt: skip


def _stressed(comparison: Comparison, runs: Sequence[FinishedRun], own: TrainingData, bar: Bar) -> dict[str, Stressed]:
    """Stress tests of the runs: made where they were asked for, else those that are there."""
    test = {own.table.ids[index] for index in own.split.indices(own.table, "test")}
    found = {}
    for run, experiment in zip(runs, comparison.experiments, strict=True):
        kept: StressTest | None = None
        if comparison.stress:
            with bar(f"{run.name}: stress test", stress_total(len(test), None)) as told:
                kept = stress_run(
                    run.folder,
                    own.table,
                    own.pack,
                    own.split,
                    device=choose_device(experiment.train.device),
                    on_progress=told,
                )
        else:
            kept = read_stress(run.folder)
        if kept is not None:
            if not set(kept.ids) <= test:
                raise RunError(f"{run.folder / 'stress.json'} is of other images; delete it, or test again")
            found[run.name] = Stressed(ids=kept.ids, seed=kept.seed, result=kept.result)
    return found
