"""From finished stages to the content of the report."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from lentigo import __version__
from lentigo.config import Experiment
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split, groups_of, straddling
from lentigo.data.table import ImageTable
from lentigo.evidence.assessment import PREVALENCE
from lentigo.explain.looks import Looks
from lentigo.explain.survey import Segmenter
from lentigo.explain.trust_pairs import TrustPair
from lentigo.models.registry import model_entry
from lentigo.report.card import Card, CardFacts, model_card
from lentigo.report.checklist import Facts, checklist
from lentigo.report.content import ReportContent
from lentigo.report.evidence import Evidence
from lentigo.report.gather import (
    FinishedRun,
    augmentation_examples,
    choose_gallery,
    examples_by_class,
    gallery_images,
    model_result,
    paper_scores_for,
)
from lentigo.report.look import LookReport
from lentigo.report.texts import few_images
from lentigo.report.worth import worth_of


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: the data, one experiment for each model, and how it is to be told in the report."""

    table: ImageTable
    experiments: tuple[Experiment, ...]
    out: Path
    command: str
    drawn: bool = False
    cache: Path | None = None
    split_file: Path | None = None
    seeds: int = 1  # trainings of every network, with seeds one after the other
    externals: tuple[tuple[str, ImageTable], ...] = ()  # other data, by the name that readers see
    prevalence: float = PREVALENCE  # of malignant among those who would be screened
    stress: bool = False  # score the test images under changes too
    segmenter: Segmenter | None = None  # finds lesions that no mask is given for; None: image processing does


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the stages of a comparison came to."""

    runs: Sequence[FinishedRun]
    pack: ImagePack
    split: Split
    protocol: str
    audit: dict[str, Any]
    evidence: Evidence
    looks: Looks  # by Grad-CAM
    second: Looks  # by HiResCAM
    trust: tuple[TrustPair, ...]


def report_content(comparison: Comparison, found: Found) -> ReportContent:
    """All that the report shows; the time taken is not known yet."""
    table, seed = comparison.table, comparison.experiments[0].seed
    runs, pack, split = found.runs, found.pack, found.split
    predictions = runs[0].evaluation.predictions
    chosen = choose_gallery(
        predictions.labels,
        np.stack([run.evaluation.predictions.logits for run in runs]),
        seed=seed,
        inside=np.stack([found.looks.inside[run.name] for run in runs]),
    )
    gallery = gallery_images(chosen, predictions.ids, table, pack)
    indices = [index for section in chosen.values() for index in section]
    results = [model_result(run, gallery, indices) for run in runs]
    examples = examples_by_class(table, pack, split, seed=seed)
    return ReportContent(
        title="Benign or malignant: " + ", ".join(result.title for result, _ in results),
        data_name=comparison.table.name,
        drawn=comparison.drawn,
        created=now(),
        command=comparison.command,
        seed=seed,
        protocol=found.protocol,
        counts=split.counts(table),
        versions=versions(),
        seconds=0.0,
        labels=predictions.labels,
        models=tuple(result for result, _ in results),
        gallery=gallery,
        examples=examples,
        augmentations=augmentation_examples(examples["malignant"][0], comparison.experiments[0].augment, seed=seed),
        paper_scores=paper_scores_for(table),
        heat_scale={run.name: scale for run, (_, scale) in zip(runs, results, strict=True)},
        cells={run.name: (run.explanation.maps.shape[1], run.explanation.maps.shape[2]) for run in runs},
        notes=_notes(comparison, found),
        worth=worth_of(found.audit, runs, table),
        look=LookReport(
            looks=found.looks,
            second=found.second,
            runs={run.name: run.explanation.about for run in runs},
            trust=found.trust,
        ),
        evidence=found.evidence,
        cards=tuple(cards_of(comparison, found).values()),
        checklist=checklist(_facts(comparison, found)),
    )


def cards_of(comparison: Comparison, found: Found) -> dict[str, Card]:
    """Each network's model card, by its name."""
    verdict = found.audit["verdict"]
    return {
        run.name: model_card(
            CardFacts(
                name=run.name,
                experiment=experiment,
                about=run.about,
                data=comparison.table.name,
                counts=found.split.counts(comparison.table),
                protocol=found.protocol,
                audit_sentence=verdict["sentence"],
                findings=[(finding["severity"], finding["text"]) for finding in verdict["findings"]],
            ),
            found.evidence,
        )
        for run, experiment in zip(found.runs, comparison.experiments, strict=True)
    }


def _facts(comparison: Comparison, found: Found) -> Facts:
    """What the report answers of the reporting checklists."""
    table, evidence = comparison.table, found.evidence
    first = next(iter(evidence.assessments.values()))
    known = [column for column in ("age", "sex", "site", "skin_tone") if any(table.column(column))]
    return Facts(
        internal_test=True,
        intervals=True,
        paired_tests=bool(evidence.pairs),
        calibration=any(item.after is not None for item in evidence.assessments.values()),
        operating_points=any(len(item.points) > 1 for item in evidence.assessments.values()),
        decision_curve=any(item.curve is not None for item in evidence.assessments.values()),
        subgroups=tuple(subgroups.column.lower() for subgroups in first.subgroups),
        external=tuple(external.name for external in evidence.externals),
        robustness=bool(evidence.stress),
        heat_maps=True,
        audit=True,
        leaks=any("test" in leak["parts"] for leak in found.audit["leaks"]),
        grouped_split=bool(any(table.column("lesion")) or any(table.column("patient")))
        and not straddling(groups_of(table), found.split, table),
        source_known=any(table.column("source")),
        demographics=tuple(known),
        masks=any(table.column("mask")),
        seeds=comparison.seeds,
        published_weights=any(experiment.model.weights != "none" for experiment in comparison.experiments),
        several_models=len(found.runs) > 1,
        predictions_kept=True,
        drawn=comparison.drawn,
        network_known=True,
    )


def now() -> str:
    """The moment as reports print it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "lentigo": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _notes(comparison: Comparison, found: Found) -> tuple[str, ...]:
    runs, protocol, notes = found.runs, found.protocol, []
    if comparison.drawn:
        notes.append(
            "These are drawn lesions, small networks and short trainings: this page shows how lentigo works, not how "
            "well any network tells real lesions apart."
        )
    if comparison.table.ignored:
        left_out = comparison.table.ignored
        notes.append(
            f"{len(left_out)} files are no images that lentigo reads; they were left out: first {left_out[0]}."
        )
    if paper_scores_for(comparison.table) and protocol != "paper":
        notes.append(
            "The paper's figures are of a random split; these test images were dealt in another way, so the figures "
            "are not of like tests."
        )
    notes += [note for run in runs if (note := _stopped(run.name, run.about))]
    test = found.split.indices(comparison.table, "test")
    groups = np.array(groups_of(comparison.table), dtype=np.int64)[test]
    if few := few_images(runs[0].evaluation.predictions.labels, groups):
        notes.append(few)
    return tuple(notes)


def _stopped(name: str, about: Mapping[str, Any]) -> str:
    if about["complete"]:
        return ""
    return (
        f"{model_entry(name).title} was stopped after {about['seconds'] / 60:.0f} minutes and "
        f"{about['steps']} steps ({about['epochs']} whole epochs of {about['epochs_asked']}): its scores are "
        "not the recipe's."
    )
