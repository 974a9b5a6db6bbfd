"""Shortcut probes: how well the label can be told without a look at the lesion. In: a table and its pack. Out: a
`Probe` a view: an AUC with its interval, a verdict, and a sentence for a reader.

A probe is a small model that sees one view of an image (data/probe_views.py, data/probe_columns.py) and nothing else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn needs and brings it

from lentigo.data.inspection import FileFacts
from lentigo.data.pack import ImagePack
from lentigo.data.probe_columns import column_views, file_views
from lentigo.data.probe_models import (
    deal_folds,
    fit_and_score,
    out_of_fold,
    permutation_p_value,
    trainable,
)
from lentigo.data.probe_views import View, outside_view, pixel_views, with_lesion_shares
from lentigo.data.probe_words import MATTERS, SIGNIFICANT, meaning_of
from lentigo.data.split import Split
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.evidence.comparison import holm
from lentigo.evidence.intervals import UNDEFINED, Interval, auc_interval

MAX_FITTED = 12_000  # images that are learned from; more make the probes slower and hardly better
_PIXEL_SHARE = 0.4  # of the work, for progress; the rest is fitting


@dataclass(frozen=True, kw_only=True)
class WithinSource:
    """A probe's AUC among the test images of one source."""

    auc: float
    low: float
    high: float
    n: int
    n_malignant: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one view alone tells of the label. Numbers that are not defined are NaN.

    `auc` is out of five folds of whole groups over all images, `test_auc` that of a model fitted to the split's
    training images. Intervals are of 95 %, by groups; they hold for images of the same kind, and leave out what another
    draw of training images would change.
    """

    name: str
    title: str
    seen: str  # what it may see, such as "a thumbnail of 24 x 24 pixels"
    sees_lesion: bool  # if indirectly, as the size of a file does
    n_images: int  # behind `auc`
    n_features: int
    auc: float
    low: float
    high: float
    p_value: float  # by permutation, adjusted for all probes of the run by Holm
    called: bool  # p_value < 0.01 and low > 0.55
    lesion_share: float  # of what is seen, by the masks, in [0, 1]
    test_auc: float
    test_low: float
    test_high: float
    test_accuracy: float  # malignant called at a logit >= 0
    n_test: int
    within: dict[str, WithinSource]  # by source, those with test images of both classes
    test_logits: dict[str, float] = field(repr=False)  # by image id
    not_run: str  # why there are no numbers; else empty
    meaning: str  # a sentence or two for a reader

    def to_dict(self) -> dict[str, Any]:
        """All but the logits, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "test_logits"}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """The images that are looked at: learned from, scored as test images, or both."""

    rows: Int64[np.ndarray, " image"]  # positions in the table
    ids: list[str]
    labels: Int64[np.ndarray, " image"]
    groups: Int64[np.ndarray, " image"]
    sources: list[str]
    folded: Bool[np.ndarray, " image"]  # in the cross-validation
    train: Bool[np.ndarray, " image"]  # learned from for the test
    test: Bool[np.ndarray, " image"]
    fold: Int64[np.ndarray, " image"]  # -1 outside the cross-validation
    no_folds: str  # why there is no cross-validation; else empty
    seed: int


def run_probes(
    table: ImageTable,
    pack: ImagePack,
    *,
    facts: Sequence[FileFacts] = (),
    groups: Sequence[int],
    split: Split | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[Probe, ...]:
    """Let every probe learn the label, and say which do better than chance allows.

    Images with the split's part exclude are left out. Of more than 12,000 others, whole groups are drawn at random up
    to that number, and learned from; test images are all scored. A probe is called when shuffled labels do as well in
    fewer than 1 of 100 (after Holm over all probes) and its AUC's lower bound lies above 0.55.

    Args:
        table: may hold one class only; then no probe is run.
        pack: of the same images in the same order.
        facts: of the files; without them header and size are not run, and nothing else changes.
        groups: one number an image; images of one number (lesion, patient, copies) stay together.
        split: None: no test numbers.
        seed: of the draw, the folds and the permutations.
        progress: called with the number of images done since the last call; they sum to the table's length.
    Returns: those that see no lesion first.
    Raises: DataError: pack, groups or split are not those of the table, every image is excluded, or the pack is
        damaged.
    """
    _check(table, pack, groups, split)
    report = _Progress(len(table), progress)
    sample = _sample(table, np.asarray(groups, dtype=np.int64), split, seed)
    views = _views(table, pack, facts, rows=sample.rows, report=report)
    probes = _probes(views, sample, report)
    adjusted = holm([probe.p_value for probe in probes])
    return tuple(_judged(probe, view, p) for probe, view, p in zip(probes, views, adjusted, strict=True))


def _check(table: ImageTable, pack: ImagePack, groups: Sequence[int], split: Split | None) -> None:
    if tuple(table.ids) != pack.ids:
        raise DataError(f"the pack {pack.folder} is not of the images of {table.root}; open it with the table it is of")
    if len(groups) != len(table):
        raise DataError(f"{len(groups)} group numbers were given for {len(table)} images; give one an image")
    absent = [] if split is None else [name for name in table.ids if name not in split.part]
    if absent:
        raise DataError(
            f"the split leaves out {len(absent)} images of {table.root}, first {absent[0]}; give each a part"
        )


def _sample(table: ImageTable, groups: Int64[np.ndarray, " image"], split: Split | None, seed: int) -> _Sample:
    parts = np.array(["" if split is None else split.part[name] for name in table.ids])
    usable = np.flatnonzero(parts != "exclude")
    if not usable.size:
        raise DataError(f"the split excludes all images of {table.root}; give some of them another part")
    drawn = np.zeros(len(table), dtype=np.bool_)
    drawn[usable[_whole_groups(groups[usable], seed)]] = True
    rows = np.flatnonzero(drawn | (parts == "test"))
    labels, folded = table.labels[rows], drawn[rows]
    fold = np.full(rows.size, -1, dtype=np.int64)
    dealt = deal_folds(labels[folded], groups[rows][folded], seed)
    if not isinstance(dealt, str):
        fold[folded] = dealt
    return _Sample(
        rows=rows,
        ids=[table.rows[row].id for row in rows],
        labels=labels,
        groups=groups[rows],
        sources=[table.rows[row].source for row in rows],
        folded=folded,
        train=folded & (parts[rows] == "train"),
        test=parts[rows] == "test",
        fold=fold,
        no_folds=dealt if isinstance(dealt, str) else "",
        seed=seed,
    )


def _whole_groups(groups: Int64[np.ndarray, " image"], seed: int) -> Bool[np.ndarray, " image"]:
    """Which images to learn from: all, or groups in random order, each that still fits."""
    if groups.size <= MAX_FITTED:
        return np.ones(groups.size, dtype=np.bool_)
    numbers, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    taken, total = np.zeros(numbers.size, dtype=np.bool_), 0
    for group in np.random.default_rng(np.random.SeedSequence((seed, 0x5A3B))).permutation(numbers.size):
        if total + sizes[group] <= MAX_FITTED:
            taken[group] = True
            total += int(sizes[group])
    chosen: Bool[np.ndarray, " image"] = taken[index]
    return chosen


def _views(
    table: ImageTable,
    pack: ImagePack,
    facts: Sequence[FileFacts],
    *,
    rows: Int64[np.ndarray, " image"],
    report: "_Progress",
) -> tuple[View, ...]:
    """Those that see no lesion first, each kind in its own order."""
    pixels = pixel_views(pack, rows, progress=lambda done: report.advance(_PIXEL_SHARE * done / rows.size))
    views = (
        *with_lesion_shares(pixels, table, rows),
        outside_view(table, pack, rows),
        *file_views(table, facts, rows),
        *column_views(table, rows),
    )
    return tuple(sorted(views, key=lambda view: view.sees_lesion))


def _probes(views: Sequence[View], sample: _Sample, report: "_Progress") -> list[Probe]:
    """One after the other, on one thread.

    Sums in another order would change the last digits; and of two threads on two busy cores each waits for the other,
    so that a fit to 2,200 images was seen to take 2.2 s instead of 0.2.
    """
    probes = []
    with threadpool_limits(1):
        for view in views:
            probes.append(_probe(view, sample))
            report.advance((1 - _PIXEL_SHARE) / len(views))
    report.finish()
    return probes


def _probe(view: View, sample: _Sample) -> Probe:
    """The view's numbers; the p value is not adjusted yet, and nothing is judged."""
    folded = sample.folded & view.known
    reason = view.not_run or sample.no_folds
    if not reason and not trainable(sample.labels[folded], sample.fold[folded]):
        reason = "the images it can see do not hold both classes in every fold"
    empty = _not_run(view, reason)
    if reason:
        return empty
    features, labels, groups = view.features[folded], sample.labels[folded], sample.groups[folded]
    logits = out_of_fold(features, labels, sample.fold[folded])
    auc = auc_interval(labels, logits, groups=groups)
    return replace(
        empty,
        n_images=labels.size,
        auc=auc.value,
        low=auc.low,
        high=auc.high,
        p_value=permutation_p_value(features, labels, groups, seed=sample.seed),
        **_on_test(view, sample),
    )


def _not_run(view: View, reason: str) -> Probe:
    names = ("auc", "low", "high", "p_value", "test_auc", "test_low", "test_high", "test_accuracy")
    return Probe(
        name=view.name,
        title=view.title,
        seen=view.seen,
        sees_lesion=view.sees_lesion,
        lesion_share=view.lesion_share,
        n_images=0,
        n_features=view.features.shape[1],
        called=False,
        n_test=0,
        within={},
        test_logits={},
        not_run=reason,
        meaning="",
        **dict.fromkeys(names, math.nan),
    )


def _on_test(view: View, sample: _Sample) -> dict[str, Any]:
    """The probe's numbers on the split's test images; none without images, two classes to learn from, or a value."""
    train, test = sample.train & view.known, np.flatnonzero(sample.test & view.known)
    if not test.size or np.unique(sample.labels[train]).size < 2:
        return {}
    if view.given is not None and not view.given[test].any():
        return {}  # a score on images of which nothing is known would look like a shortcut that fails
    labels, groups = sample.labels[test], sample.groups[test]
    logits = fit_and_score(view.features[train], sample.labels[train], view.features[test])
    auc = _auc(labels, logits, groups)
    sources = np.array([sample.sources[row] for row in test])
    found = {source: sources == source for source in sorted(set(sources.tolist()) - {""})}
    return {
        "test_auc": auc.value,
        "test_low": auc.low,
        "test_high": auc.high,
        "test_accuracy": float(((logits >= 0) == (labels == 1)).mean()),
        "n_test": test.size,
        "within": {
            source: _within(labels[of], logits[of], groups[of])
            for source, of in found.items()
            if np.unique(labels[of]).size == 2
        },
        "test_logits": {sample.ids[row]: logit for row, logit in zip(test.tolist(), logits.tolist(), strict=True)},
    }


def _auc(
    labels: Int64[np.ndarray, " image"], logits: Float64[np.ndarray, " image"], groups: Int64[np.ndarray, " image"]
) -> Interval:
    return auc_interval(labels, logits, groups=groups) if np.unique(labels).size == 2 else UNDEFINED


def _within(
    labels: Int64[np.ndarray, " image"], logits: Float64[np.ndarray, " image"], groups: Int64[np.ndarray, " image"]
) -> WithinSource:
    auc = _auc(labels, logits, groups)
    return WithinSource(auc=auc.value, low=auc.low, high=auc.high, n=labels.size, n_malignant=int(labels.sum()))


def _judged(probe: Probe, view: View, p_value: float) -> Probe:
    called = p_value < SIGNIFICANT and probe.low > MATTERS
    meaning = meaning_of(
        view,
        auc=Interval(probe.auc, probe.low, probe.high),
        test_auc=probe.test_auc,
        n_images=probe.n_images,
        p_value=p_value,
        called=called,
        not_run=probe.not_run,
    )
    return replace(probe, p_value=p_value, called=called, meaning=meaning)


class _Progress:
    """Shares of the work as whole images, so that they sum to `total`."""

    def __init__(self, total: int, call: Callable[[int], None] | None) -> None:
        self.total, self.call, self.share, self.told = total, call, 0.0, 0

    def advance(self, share: float) -> None:
        self.share += share
        self._tell(min(self.total, int(self.share * self.total)))

    def finish(self) -> None:
        self._tell(self.total)

    def _tell(self, done: int) -> None:
        if self.call and done > self.told:
            self.call(done - self.told)
            self.told = done
