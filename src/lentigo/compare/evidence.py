"""The evidence of a comparison: what stands in the folders of its runs, and of the images what the table says."""

from collections.abc import Mapping, Sequence

from lentigo.compare.content import Comparison
from lentigo.data.columns import columns_of
from lentigo.data.copies import Bar
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, RunError
from lentigo.evidence.assessment import assess
from lentigo.learn.device import choose_device
from lentigo.learn.elsewhere import Elsewhere, evaluate_elsewhere
from lentigo.learn.evaluation import Evaluation, decisions_of
from lentigo.learn.stress import StressTest, read_stress, stress_run, stress_total
from lentigo.models.registry import model_entry
from lentigo.report.evidence import Evidence, ExternalSet, Scored, Stressed, evidence_of, repeats_of
from lentigo.report.gather import FinishedRun


def check_externals(externals: Sequence[tuple[str, ImageTable]]) -> None:
    """Refuse two of one name: a reader could not tell them apart.

    Raises: ConfigError.
    """
    names = [name for name, _ in externals]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--external {', '.join(twice)} is given twice; give every data set a name of its own")


def gather(
    comparison: Comparison,
    runs: Sequence[FinishedRun],
    repeated: Mapping[str, Mapping[int, Evaluation]],
    pack: ImagePack,
    split: Split,
    bar: Bar,
) -> Evidence:
    """All evidence on finished runs; what it takes from other data and changed images is made here, unless it is there.

    Args:
        repeated: by model, the scores of each of its trainings by seed; one seed says nothing of spread.
    """
    table, seed = comparison.table, comparison.experiments[0].seed
    test = split.indices(table, "test")
    columns, estimated = columns_of(table.subset(test), pack.subset(test), cache=comparison.cache, bar=bar)
    return evidence_of(
        runs[0].evaluation.predictions.labels,
        {
            run.name: Scored(
                name=run.name,
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
        externals=tuple(_external(comparison, name, other, runs, bar) for name, other in comparison.externals),
        stress=_stressed(comparison, runs, pack, split, bar),
    )  # fmt: skip


def _external(
    comparison: Comparison, name: str, table: ImageTable, runs: Sequence[FinishedRun], bar: Bar
) -> ExternalSet:
    found: dict[str, Elsewhere] = {}
    for run, experiment in zip(runs, comparison.experiments, strict=True):
        device = choose_device(experiment.train.device)
        found[run.name] = evaluate_elsewhere(
            run.folder, table, name=name, cache=comparison.cache, device=device, again=False, bar=bar
        )
    first = next(iter(found.values()))
    assessments = {}
    for run in runs:
        here = found[run.name]
        same = here.table.ids == first.table.ids  # else the columns of the first are of other images
        if run.name == next(iter(found)) or not same:
            columns, _ = columns_of(here.table, here.pack, cache=comparison.cache, bar=bar)
        predictions = here.evaluation.predictions
        assessments[run.name] = assess(
            predictions.labels,
            predictions.logits,
            decisions=decisions_of(run.folder),
            columns=columns,
            prevalence=comparison.prevalence,
            seed=comparison.experiments[0].seed,
        )
    return ExternalSet(
        name=name,
        data=table.name,
        n=len(table),
        left_out={
            key: (sum(i.label == 0 for i in here.left_out), sum(i.label == 1 for i in here.left_out))
            for key, here in found.items()
        },
        unchecked={key: here.unchecked for key, here in found.items()},
        assessments=assessments,
    )  # fmt: skip


def _stressed(
    comparison: Comparison, runs: Sequence[FinishedRun], pack: ImagePack, split: Split, bar: Bar
) -> dict[str, Stressed]:
    """Stress tests of the runs: made where they were asked for, else those that are there."""
    test = {comparison.table.ids[index] for index in split.indices(comparison.table, "test")}
    found = {}
    for run, experiment in zip(runs, comparison.experiments, strict=True):
        kept: StressTest | None = None
        if comparison.stress:
            with bar(f"{run.name}: stress test", stress_total(len(test), None)) as told:
                kept = stress_run(
                    run.folder,
                    comparison.table,
                    pack,
                    split,
                    device=choose_device(experiment.train.device),
                    on_progress=told,
                )
        else:
            kept = read_stress(run.folder)
        if kept is not None:
            if not set(kept.ids) <= test:
                raise RunError(f"{run.folder / 'stress.json'} is of other images; delete it, or test again")
            found[run.name] = Stressed(images=len(kept.ids), result=kept.result)
    return found
