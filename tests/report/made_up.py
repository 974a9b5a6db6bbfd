"""Reports made up for the tests: random pictures, a few logits, and everything that a test may want to change."""

from dataclasses import replace
from typing import Any

import numpy as np

from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import scores
from lentigo.report.content import GALLERY_SECTIONS, GalleryImage, ModelResult, ReportContent, Standing, Worth

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
