"""Reports made up for the tests: random pictures, a few logits, and everything that a test may want to change."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from lentigo.config import Experiment
from lentigo.data.subgroup_columns import ESTIMATED_TONE
from lentigo.evidence.assessment import Assessment, Columns, assess
from lentigo.evidence.decisions import decide
from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import scores
from lentigo.evidence.stress import stress_scores
from lentigo.explain.looks import Looks, Maps, compare_looks
from lentigo.explain.survey import Survey
from lentigo.imaging import Preprocessing
from lentigo.report.card import CardFacts, model_card
from lentigo.report.checklist import Facts, checklist
from lentigo.report.content import GALLERY_SECTIONS, GalleryImage, ModelResult, ReportContent, Standing, Worth
from lentigo.report.evidence import Evidence, ExternalSet, Scored, Stressed, evidence_of, repeats_of
from lentigo.report.look import LookReport
from lentigo.report.look_words import FILLS

PAPER = {"tiny_vgg": {"accuracy": 0.879, "auc": 0.951}, "vgg11": {"auc": 0.966}}
FIVE = ("tiny_vgg", "vgg11", "alexnet", "resnet18", "resnet101")


def picture(seed: int, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (width, width, 3), dtype=np.uint8)


def model(
    name: str, labels: np.ndarray, gallery: int, *, logits: np.ndarray | None = None, **changes: Any
) -> ModelResult:
    if logits is None:
        rng = np.random.default_rng(len(name))
        logits = (labels * 2 - 1 + rng.normal(size=labels.size)).astype(np.float32)
    row = {"steps": 8, "train_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.8, "validation_auc": 0.9}
    settings: dict[str, Any] = {
        "name": name,
        "title": name.title(),
        "history": tuple({"epoch": float(epoch), **row, "seconds": 1.0, "images_per_s": 99.0} for epoch in (1, 2)),
        "scores": scores(labels, logits),
        "logits": logits,
        "parameters": 56_251,
        "multiply_adds": 7_609_090_048,
        "train_seconds": 3725.0,
        "images_per_s": 99.4,
        "device": "CPU, 2 threads",
        "epochs": 2,
        "epochs_asked": 10,
        "complete": False,
        "steps": 16,
        "overlays": tuple(picture(index) for index in range(gallery)),
        "empty": tuple(index == 0 for index in range(gallery)),
        "gallery_logits": tuple(1.0 for _ in range(gallery)),
    }
    return ModelResult(**{**settings, **changes})


def worth(**changes: Any) -> Worth:
    """A network beside the frame and the source, within one archive."""
    network = Standing(
        title="Tiny VGG", sees="", auc=Interval(0.95, 0.94, 0.96), accuracy=0.879,
        within={"isic2020": Interval(0.76, 0.71, 0.81)},
    )  # fmt: skip
    frame = Standing(
        title="Frame", sees="the outer 8 pixels", auc=Interval(0.961, 0.951, 0.969), accuracy=0.882, within={}
    )
    settings: dict[str, Any] = {
        "level": "serious",
        "sentence": "A score on these data is no evidence.",
        "findings": (("serious", "Frame. It tells."), ("note", "Copies. <b>2</b> images.")),
        "standings": (network, frame),
        "sources": (("isic2020", 1107, 107),),
        "follows": ("Tiny VGG: the frame does as well.",),
    }
    return Worth(**{**settings, **changes})


def content(
    names: tuple[str, ...] = ("tiny_vgg",), *, labels: np.ndarray | None = None, **changes: Any
) -> ReportContent:
    labels = (np.arange(60) % 2).astype(np.int64) if labels is None else labels
    gallery = tuple(
        GalleryImage(id=f"IMG_{index}", label=int(section != "benign"), image=picture(index), section=section)
        for index, section in enumerate(GALLERY_SECTIONS)
    )
    settings: dict[str, Any] = {
        "title": "A comparison",
        "data_name": "kaggle10605",
        "drawn": False,
        "created": "2026-01-02 03:04 UTC",
        "command": "lentigo compare DATA --seed 0",
        "seed": 0,
        "protocol": "paper",
        "counts": {
            "train": {"benign": 4032, "malignant": 3713},
            "validation": {"benign": 468, "malignant": 392},
            "test": {"benign": 30, "malignant": 30},
        },
        "versions": {"lentigo": "0.1.0", "torch": "2.14.0"},
        "seconds": 61.0,
        "labels": labels,
        "models": tuple(model(name, labels, len(gallery)) for name in names),
        "gallery": gallery,
        "examples": {"benign": (picture(1), picture(2)), "malignant": (picture(3, width=30),)},
        "augmentations": (("Rotation", tuple(picture(seed) for seed in range(5))),),
        "paper_scores": None,
        "heat_scale": dict.fromkeys(names, 1.25),
        "cells": dict.fromkeys(names, (75, 75)),
        "notes": (),
    }
    return ReportContent(**{**settings, **changes})


def without_gallery(whole: ReportContent) -> ReportContent:
    bare = tuple(replace(m, overlays=(), empty=(), gallery_logits=()) for m in whole.models)
    return replace(whole, models=bare, gallery=())


# ---------------------------------------------------------------- evidence

SHARPNESS = {"tiny_vgg": 0.8, "vgg11": 0.9, "coin": 0.0}  # of the drawn logits; the coin knows nothing
N = 160
LABELS = (np.arange(N) % 2).astype(np.int64)


def drawn_logits(labels: np.ndarray, sharpness: float, seed: int) -> np.ndarray:
    """Normal logits, those of malignant images higher by twice the sharpness."""
    noise = np.random.default_rng(seed).normal(size=labels.size)
    return (sharpness * (2 * labels - 1) + noise).astype(np.float32)


def logits_of(labels: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    return {name: drawn_logits(labels, sharp, seed + place) for place, (name, sharp) in enumerate(SHARPNESS.items())}


@cache
def evidence() -> Evidence:
    """Everything that evidence can hold, of three classifiers on 160 images: pairs, seeds, subgroups, two external sets
    of which one is benign only, and a stress test of two of them.
    """
    validation = (np.arange(80) % 2).astype(np.int64)
    decisions = {name: decide(validation, logits) for name, logits in logits_of(validation, seed=50).items()}
    logits = logits_of(LABELS)
    columns = Columns(
        names={
            "Source": ["here" if index % 5 else "there" for index in range(N)],
            ESTIMATED_TONE: [("light", "tan", "", "dark")[index // 4 % 4] if index < 140 else "" for index in range(N)],
        },
        orders={ESTIMATED_TONE: ["light", "tan", "dark"]},
        groups=np.arange(N) // 2,  # two neighbours are of one patient
    )
    elsewhere, benign = (np.arange(60) % 3 // 2).astype(np.int64), np.zeros(30, dtype=np.int64)
    return evidence_of(
        LABELS,
        {
            name: Scored(title=name.title(), logits=logits[name], decisions=decisions[name])
            for name in SHARPNESS
        },
        columns,
        tones_estimated=True,
        repeats={"tiny_vgg": repeats_of({seed: scores(LABELS, drawn_logits(LABELS, 0.8, seed)) for seed in (0, 7)})},
        externals=(
            ExternalSet(
                name="elsewhere", data="archive", n=62,
                left_out={"tiny_vgg": (1, 1), "vgg11": (1, 1), "coin": (1, 1)},
                of_test=dict.fromkeys(SHARPNESS, 2), unchecked=dict.fromkeys(SHARPNESS, ""),
                assessments={
                    name: assess(elsewhere, found, decisions=decisions[name])
                    for name, found in logits_of(elsewhere, seed=100).items()
                },
            ),
            ExternalSet(
                name="benign", data="benign", n=30,
                left_out=dict.fromkeys(SHARPNESS, (0, 0)), of_test=dict.fromkeys(SHARPNESS, 0),
                unchecked=dict.fromkeys(SHARPNESS, ""),
                assessments={
                    name: assess(benign, found, decisions=decisions[name])
                    for name, found in logits_of(benign, seed=200).items()
                },
            ),
        ),
        stress={name: stressed(LABELS, logits[name]) for name in ("tiny_vgg", "coin")},
    )  # fmt: skip


def stressed(labels: np.ndarray, clean: np.ndarray) -> Stressed:
    """Blur hides more and more; hair does nothing."""
    noise = np.random.default_rng(9).normal(size=labels.size)
    changed = {("blur", strength): clean + 0.5 * strength * noise for strength in range(1, 6)}
    changed |= {("hair", strength): clean for strength in range(1, 6)}
    return Stressed(
        ids=tuple(map(str, range(labels.size))), seed=0, result=stress_scores(labels, clean, changed, count=100)
    )


def assessment(**changes: Any) -> Assessment:
    """That of the first classifier, with whatever a test wants to be otherwise."""
    return replace(evidence().assessments["tiny_vgg"], **changes)


def evidence_with(assessments: Mapping[str, Assessment], **changes: Any) -> Evidence:
    """Evidence on other assessments, without pairs, seeds, other data and stress unless they are given."""
    settings: dict[str, Any] = {"pairs": (), "repeats": {}, "externals": (), "stress": {}}
    titles = {name: name.upper() for name in assessments}
    return replace(evidence(), assessments=dict(assessments), titles=titles, **{**settings, **changes})


def facts(**changes: Any) -> Facts:
    """What the made-up report holds."""
    settings: dict[str, Any] = {
        **dict.fromkeys(("internal_test", "intervals", "paired_tests", "calibration", "operating_points"), True),
        **dict.fromkeys(("decision_curve", "robustness", "heat_maps", "audit", "grouped_split", "source_known"), True),
        **dict.fromkeys(("masks", "published_weights", "drawn"), False),
        **dict.fromkeys(("several_models", "predictions_kept", "network_known"), True),
        "subgroups": ("source", "skin tone"), "external": ("elsewhere", "benign"), "leaks": False,
        "demographics": ("age",), "seeds": 2,
    }  # fmt: skip
    return Facts(**{**settings, **changes})


def card_facts(**changes: Any) -> CardFacts:
    settings: dict[str, Any] = {
        "name": "tiny_vgg",
        "experiment": Experiment(),
        "about": {
            "parameters": 56_251, "epochs": 2, "epochs_asked": 10, "steps": 484, "seconds": 3725.0,
            "device": "CPU, 2 threads", "complete": True,
        },
        "data": "kaggle10605",
        "counts": {
            "train": {"benign": 4032, "malignant": 3713},
            "validation": {"benign": 468, "malignant": 392},
            "test": {"benign": 80, "malignant": 80},
            "unused": {"benign": 3, "malignant": 0},
        },
        "protocol": "paper",
        "audit_sentence": "A score on these data is no evidence.",
        "findings": (("serious", "The frame tells."), ("note", "Two copies.")),
    }  # fmt: skip
    return CardFacts(**{**settings, **changes})


def content_with_evidence(**changes: Any) -> ReportContent:
    """A comparison of the classifiers of `evidence`, with everything that evidence brings, and where they look."""
    logits = logits_of(LABELS)
    settings: dict[str, Any] = {
        "labels": LABELS,
        "models": tuple(model(name, LABELS, len(GALLERY_SECTIONS), logits=logits[name]) for name in SHARPNESS),
        "worth": worth(),
        "look": look_report(),
        "evidence": evidence(),
        "cards": tuple(model_card(card_facts(name=name), evidence()) for name in SHARPNESS),
        "checklist": checklist(facts()),
    }
    return content(tuple(SHARPNESS), **{**settings, **changes})


# ---------------------------------------------------------------- where the networks look

SEEN_PX = 24
STATES = ("expert",) * 30 + ("automatic",) * 9 + ("low",) * 2 + ("empty",)  # of the 42 images


def lesion_masks(n: int, seed: int = 0) -> np.ndarray:
    """Discs beside the middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SEEN_PX, :SEEN_PX]
    y, x = rng.uniform(7, 16, size=(2, n, 1, 1))
    lesions: np.ndarray = (rows - y) ** 2 + (columns - x) ** 2 <= rng.uniform(3, 5, size=(n, 1, 1)) ** 2
    return lesions


def survey(**changes: Any) -> Survey:
    """Of expert masks, masks found, two of them with too little confidence, and an empty one; some have a frame."""
    lesions = lesion_masks(len(STATES))
    lesions[-1] = False
    corners = np.zeros_like(lesions)
    corners[::3, :4, :4] = True
    settings: dict[str, Any] = {
        "ids": tuple(f"IMG_{index}" for index in range(len(STATES))),
        "lesions": lesions,
        "origins": tuple("automatic" if state == "low" else state.replace("empty", "expert") for state in STATES),
        "confidences": np.array([0.2 if state == "low" else 1.0 for state in STATES]),
        "least_confidence": {"expert": 0.0, "automatic": 0.5, "segmenter": 0.0},
        "artefacts": {"frame": corners, "hair": np.zeros_like(lesions), "ruler": np.zeros_like(lesions)},
    }
    return Survey(**{**settings, **changes})


def looks_of(seen: Survey, names: tuple[str, ...] = tuple(SHARPNESS), seed: int = 0) -> Looks:
    """The first network's map lies on the lesion, the second's everywhere, the others' at the border."""
    n, whole = len(seen.ids), Preprocessing(resize_px=96, crop_px=None)
    labels = (np.arange(n) % 2).astype(np.int64)
    border = np.ones((n, 6, 6), np.float32)
    border[:, 1:-1, 1:-1] = 0.1
    grain = np.random.default_rng(seed).uniform(0.8, 1.2, size=(n, 12, 12)).astype(np.float32)
    on = seen.lesions.reshape(n, 12, SEEN_PX // 12, 12, SEEN_PX // 12).mean(axis=(2, 4), dtype=np.float32)
    shapes = [(on + np.float32(0.05)) * grain, grain, *[border] * len(names)]
    turned = np.where(labels == 1, 1, -1).astype(np.float32)[:, None, None]
    maps = {
        name: Maps(title=name.title(), maps=shape * turned, preprocessing=whole)
        for name, shape in zip(names, shapes, strict=False)
    }
    return compare_looks(maps, seen, labels, groups=np.arange(n) // 2, seed=seed)


@cache
def looks() -> Looks:
    return looks_of(survey())


def explanation(place: int) -> dict[str, Any]:
    """What explanation.json says on background and faithfulness, read back: null stands where a number is undefined."""

    def of(value: float) -> dict[str, float | None]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    none: dict[str, float | None] = dict.fromkeys(("value", "low", "high"))
    fill = {
        "mean_share": of(0.3 + place / 10), "flips_without_background": of(0.12), "flips_without_lesion": of(0.4),
        "auc": of(0.9), "auc_without_background": of(0.85), "auc_without_lesion": of(0.52 + place / 10),
        "n": 39, "undefined": 0,
    }  # fmt: skip
    falling = [0.9 - 0.05 * step for step in range(11)]

    def curve(area: float, p_value: float) -> dict[str, Any]:
        return {
            "area": of(area), "random": of(0.7), "difference": of(area - 0.7), "p_value": p_value,
            "curve": falling, "random_curve": falling[::-1],
        }  # fmt: skip

    curves = {kind: curve(area, p) for kind, area, p in (("deletion", 0.6, 0.01), ("insertion", 0.72, 0.4))}
    layers = [
        {"name": name, "images": 16, "undefined": undefined, "correlation": value, "absolute": of(0.5)}
        for name, undefined, value in (("head.1", 0, of(0.2)), ("features.3", 16, none), ("features.0", 0, of(-0.7)))
    ]
    return {
        "background": {"images": 39, "left_out": 3, "fills": dict.fromkeys(FILLS, fill), "within": {}},
        "faithfulness": {
            "method": "grad_cam", "images": 32, "ids": [], "seed": 0,
            "curves": {fill: {**curves, "undefined": 0} for fill in ("blur", "mean")},
            "layers": layers, "stability": {"1": of(0.9), "3": of(0.7)},
            "agreement": {"HiResCAM": of(0.8), "Occlusion": none},
        },
    }  # fmt: skip


def look_report(**changes: Any) -> LookReport:
    settings: dict[str, Any] = {
        "looks": looks(),
        "second": replace(looks(), ranking=looks().ranking[::-1]),
        "runs": {name: explanation(place) for place, name in enumerate(SHARPNESS)},
    }
    return LookReport(**{**settings, **changes})


def unmeasured(*names: str) -> LookReport:
    """No lesion's place is known."""
    unknown = survey(confidences=np.zeros(len(STATES)), origins=("automatic",) * len(STATES))
    return LookReport(looks=looks_of(unknown, names), second=looks_of(unknown, names), runs={})
