"""Audits made up for the tests of the audit's page: random pictures in a pack, and findings about them by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lentigo.data.audit import Audit, Leak
from lentigo.data.pack import ReadablePack
from lentigo.data.shortcuts import Probe
from lentigo.report.probe_pictures import TAKEN
from tests.data.pictures import noise, packed

NAN = float("nan")


def probe(name: str, auc: float = 0.75, **changes: Any) -> Probe:
    """A probe that was run, with test numbers and an interval of 0.1 around each AUC."""
    settings: dict[str, Any] = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "seen": f"the {name}",
        "sees_lesion": False,
        "n_images": 12,
        "n_features": 3,
        "auc": auc,
        "low": auc - 0.05,
        "high": auc + 0.05,
        "p_value": 0.004,
        "called": False,
        "lesion_share": NAN,
        "test_auc": auc - 0.1,
        "test_low": auc - 0.2,
        "test_high": auc,
        "test_accuracy": 0.625,
        "n_test": 4,
        "within": {},
        "test_logits": {},
        "not_run": "",
        "meaning": f"What {name} means.",
    }
    return Probe(**{**settings, **changes})


def without_test() -> dict[str, Any]:
    """Changes that take a probe's test numbers away."""
    return {**dict.fromkeys(("test_auc", "test_low", "test_high", "test_accuracy"), NAN), "n_test": 0}


def pixel_probes() -> tuple[Probe, ...]:
    return tuple(probe(name, sees_lesion=name in ("colour", "thumbnail")) for name in TAKEN)


def audit_of(folder: Path, labels: Sequence[int], **changes: Any) -> Audit:
    """An audit of as many pictures as labels, named 0000.png and so on, in which nothing was found."""
    columns = {name: changes.pop(name) for name in ("source", "mask", "lesion", "patient") if name in changes}
    table, pack = packed(folder, noise(len(labels)), labels, **columns)
    settings: dict[str, Any] = {
        "data": "made up",
        "n_images": len(labels),
        "counts": {"benign": labels.count(0), "malignant": labels.count(1)},
        "split": "folders",
        "n_test": 4,
        "files": (),
        "exact_groups": (),
        "byte_groups": 0,
        "near_groups": (),
        "near_pairs": (),
        "leaks": (),
        "label_conflicts": (),
        "probes": pixel_probes(),
        "sources": (),
        "source_accuracy": NAN,
        "against": None,
        "fingerprint": "f" * 64,
        "readable": ReadablePack(pack=pack, table=table, failures={}),
    }
    return Audit(**{**settings, **changes})


def name(index: int) -> str:
    return f"{index:04d}.png"


def leak(*members: tuple[int, str], kind: str = "duplicate") -> Leak:
    """A leak of images by number, each with its part."""
    return Leak(kind=kind, images=tuple(name(index) for index, _ in members), parts=tuple(part for _, part in members))
