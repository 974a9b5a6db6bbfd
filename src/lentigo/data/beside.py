"""What stands beside a network's score: the best shortcut on the same images, and both within each source.

In: probes as audit.json holds them, where null is a number that is not defined. Out: a `Shortcut`, and lines to read.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lentigo.data.audit import fingerprint
from lentigo.data.pack import ImagePack
from lentigo.data.shortcuts import run_probes
from lentigo.data.split import Split, groups_of
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.evidence.intervals import Interval
from lentigo.files import read_json, write_json

# What a network sees too, without a look at the lesion. A column of the table is no rival: no network reads it.
PIXEL_PROBES = ("frame", "corners", "dark_corners", "outside_mask")
_IN_A_SENTENCE = {"outside_mask": "skin beside the lesion"}  # where the title in small letters does not do


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """How well a probe that may not see the lesion does on the images that a network is scored on."""

    name: str
    title: str
    called: bool
    auc: Interval
    accuracy: float  # NaN where no training part was there to learn from
    within: dict[str, Interval]  # by source, those with both classes
    fitted: bool  # to the split's training images, as the network; else out of folds of these images


def probes_beside(
    folder: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split | None,
    *,
    audit: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The probes of these images and this split, from `folder/shortcuts.json` or `audit` if they are there.

    Args:
        folder: gets `shortcuts.json`.
        split: None: of all images, out of folds.
        progress: called with the number of images done since the last call.
    Raises: DataError: the pack is damaged, or the disk refuses.
    """
    wanted = fingerprint(table, pack, split)
    light = f"light {wanted}"  # without the files' facts, and with the groups of lesions and patients alone
    for path, name in ((folder / "shortcuts.json", light), *([(audit, wanted)] if audit else [])):
        if (kept := _kept(path, name)) is not None:
            if progress:
                progress(len(table))
            return kept
    found = run_probes(table, pack, groups=groups_of(table), split=split, progress=progress)
    write_json(folder / "shortcuts.json", {"fingerprint": light, "probes": {p.name: p.to_dict() for p in found}})
    kept = _kept(folder / "shortcuts.json", light)
    return kept if kept is not None else {}


def best_shortcut(probes: Mapping[str, Mapping[str, Any]]) -> Shortcut | None:
    """The pixel probe without a look at the lesion that scores best; a called one before any that is not.

    By the scores on the test images; out of folds only where no probe has those.
    """
    found = [_shortcut(probes[name]) for name in PIXEL_PROBES if name in probes]
    scored = [shortcut for shortcut in found if not math.isnan(shortcut.auc.value)]
    # Scores out of folds are of other images than the test's, so they do not compete with scores on these.
    rivals = [shortcut for shortcut in scored if shortcut.fitted] or scored
    rivals = [shortcut for shortcut in rivals if shortcut.called] or rivals  # chance may lift another one above it
    return max(rivals, key=lambda shortcut: shortcut.auc.value) if rivals else None


def lines_beside(metrics: Mapping[str, Any], probes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines for the terminal: the score within each source, the best shortcut, and what follows.

    Args:
        metrics: as metrics.json holds them.
    """
    lines = []
    for source, score in metrics["within_sources"].items():
        lines.append(
            f"within {source}: AUC {_span(_interval(score, ''))}, accuracy {score['accuracy']:.3f} "
            f"on {score['n']} images, {score['n_malignant']} malignant"
        )
    shortcut = best_shortcut(probes)
    if shortcut is not None:
        lines.append(f"beside it: {shortcut_line(shortcut)}")
    if metrics["auc"] is not None and shortcut is not None:
        score = Interval(metrics["auc"], _number(metrics["auc_low"]), _number(metrics["auc_high"]))
        within = {source: _interval(values, "") for source, values in metrics["within_sources"].items()}
        lines.append(what_follows(score, shortcut, within=within))
    return lines


def shortcut_line(shortcut: Shortcut) -> str:
    """The shortcut's score on the same images, in one line."""
    how = "on the same images" if shortcut.fitted else "out of folds of the same images"
    text = f"{shortcut.title}, with next to nothing of the lesion in view: AUC {_span(shortcut.auc)} {how}"
    for source, auc in shortcut.within.items():
        text += f", {_span(auc)} within {source}"
    return text


def what_follows(score: Interval, shortcut: Shortcut, *, within: Mapping[str, Interval] | None = None) -> str:
    """What a clinician may conclude from a network's AUC and the best shortcut's on the same images.

    Args:
        within: the network's AUC by source.
    """
    return _over_all(score, shortcut) + "".join(
        _inside(source, auc, shortcut) for source, auc in (within or {}).items() if source in shortcut.within
    )


def _inside(source: str, auc: Interval, shortcut: Shortcut) -> str:
    """The same within one source, where the archive tells nothing."""
    probe = shortcut.within[source]
    clear = "more than chance explains" if auc.low > probe.high else "no clear difference"
    return (
        f" Within {source}, where both classes come from one archive, the network reaches {auc.value:.3f} and the "
        f"{_in_a_sentence(shortcut)} {probe.value:.3f}: {clear}."
    )


def _in_a_sentence(shortcut: Shortcut) -> str:
    return _IN_A_SENTENCE.get(shortcut.name, shortcut.title.lower())


def _over_all(score: Interval, shortcut: Shortcut) -> str:
    name = _in_a_sentence(shortcut)
    if not shortcut.called:
        return (
            f"No probe of the picture around the lesion tells the label beyond doubt; the best of them, {name}, "
            f"reaches {shortcut.auc.value:.3f}."
        )
    if shortcut.auc.value >= score.low:
        return (
            f"The label can be told about as well from the {name} alone, with next to nothing of the mole in view: "
            "this score is no evidence that the network recognises a malignant one."
        )
    return (
        f"The score is above that of the {name} alone ({shortcut.auc.value:.3f}), but how much of it the network takes "
        "from there is not known."
    )


def _kept(path: Path, wanted: str) -> dict[str, Any] | None:
    try:
        about = read_json(path)
        return dict(about["probes"]) if about["fingerprint"] == wanted else None
    except (DataError, KeyError, TypeError, ValueError):
        return None


def _shortcut(probe: Mapping[str, Any]) -> Shortcut:
    fitted = probe["test_auc"] is not None
    return Shortcut(
        name=probe["name"],
        title=probe["title"],
        called=probe["called"],
        auc=_interval(probe, "test_" if fitted else ""),
        accuracy=_number(probe["test_accuracy"]),
        within={source: _interval(score, "") for source, score in probe["within"].items()},
        fitted=fitted,
    )


def _interval(values: Mapping[str, Any], prefix: str) -> Interval:
    return Interval(*(_number(values[prefix + key]) for key in ("auc", "low", "high")))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _span(auc: Interval) -> str:
    return "undefined" if math.isnan(auc.value) else f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"
