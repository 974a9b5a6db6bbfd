"""The audit of a small drawn data set with known faults, and its verdict; by hand."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lentigo.config import SplitConfig
from lentigo.data import copies as copies_module
from lentigo.data.audit import (
    Against,
    Audit,
    LabelConflict,
    Leak,
    SourceCount,
    _label_conflicts,
    _leaks,
    _source_accuracy,
    _sources,
    audit_data,
    fingerprint,
    to_dict,
    write_audit,
)
from lentigo.data.copies import Copies, find_copies, split_apart
from lentigo.data.duplicates import SEARCH_UNITS, Twins
from lentigo.data.inspection import FileFinding
from lentigo.data.pack import pack_images
from lentigo.data.split import Split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.data.verdict import verdict_on
from lentigo.errors import DataError
from lentigo.files import read_json

TWIN, MIRROR, TWO, CUT, BLACK = (
    "test/benign/twin.jpg", "test/malignant/mirror.jpg", "train/malignant/two.jpg", "train/benign/cut.jpg",
    "train/benign/black.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 drawn lesions with a tied frame, to which every kind of fault was added once."""
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "faulty", count=72, size_px=128, seed=4, shortcut=0.9, workers=1
    )
    (folder / "metadata.csv").unlink()
    benign, malignant = (sorted((folder / "train" / label).iterdir()) for label in ("benign", "malignant"))
    shutil.copy(benign[0], folder / TWIN)
    with Image.open(malignant[0]) as image:
        ImageOps.mirror(image).save(folder / MIRROR, quality=60)
    shutil.copy(benign[1], folder / TWO)
    (folder / CUT).write_bytes(benign[2].read_bytes()[:2000])
    Image.new("RGB", (128, 128)).save(folder / BLACK)
    return folder


def split_of(table: ImageTable) -> Split:
    return Split({row.id: row.split for row in table.rows})


@contextlib.contextmanager
def _counted(told: dict[str, list[int]], text: str, total: int) -> Iterator[Callable[[int], None]]:
    told[text] = [total, 0]

    def advance(done: int) -> None:
        told[text][1] += done

    yield advance


@pytest.fixture(scope="module")
def told() -> dict[str, list[int]]:
    return {}


@pytest.fixture(scope="module")
def found(faulty: Path, told: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory) -> Audit:
    table = read_table(faulty)
    before = {row.id: row.path.read_bytes() for row in table.rows}
    audit = audit_data(
        table, split=split_of(table), split_name="folders", cache=tmp_path_factory.mktemp("cache"),
        bar=lambda text, total: _counted(told, text, total),
    )  # fmt: skip
    assert {row.id: row.path.read_bytes() for row in table.rows} == before  # nothing of the data was changed
    return audit


def test_every_fault_is_found_and_nothing_else(found: Audit, faulty: Path) -> None:
    benign, malignant = (sorted(p for p in read_table(faulty).ids if p.startswith(f"train/{label}"))
                         for label in ("benign", "malignant"))  # fmt: skip
    first, second = [name for name in benign if name not in (CUT, BLACK)][:2]
    mirrored = next(name for name in malignant if name != TWO)
    assert {(finding.kind, finding.id) for finding in found.files} == {("unreadable", CUT), ("blank", BLACK)}
    assert set(map(frozenset, found.exact_groups)) == {frozenset((TWIN, first)), frozenset((TWO, second))}
    assert found.byte_groups == 2
    assert list(map(frozenset, found.near_groups)) == [frozenset((MIRROR, mirrored))]
    leaks = {frozenset(zip(leak.images, leak.parts, strict=True)) for leak in found.leaks}
    assert leaks == {
        frozenset(((TWIN, "test"), (first, "train"))), frozenset(((MIRROR, "test"), (mirrored, "train")))
    }  # fmt: skip
    (conflict,) = found.label_conflicts
    assert (conflict.kind, set(zip(conflict.images, conflict.labels, strict=True))) == (
        "duplicate", {(TWO, 1), (second, 0)}
    )  # fmt: skip
    assert (found.n_images, found.n_test) == (77, 20)
    assert found.counts == {"benign": 39, "malignant": 38}


def test_the_tied_frame_is_called_and_the_verdict_is_serious(found: Audit) -> None:
    frame = found.named("dark_corners")
    assert frame is not None
    assert frame.called
    verdict = verdict_on(found)
    assert verdict.level == "serious"
    assert verdict.sentence.startswith("A score on these data is no evidence about moles by itself: an AUC of 0.")
    kinds = [finding.kind for finding in verdict.findings if finding.severity == "serious"]
    assert {"shortcut", "leak", "label"} <= set(kinds)
    order = [("serious", "warning", "note").index(finding.severity) for finding in verdict.findings]
    assert order == sorted(order)


def test_progress_adds_up(found: Audit, told: dict[str, list[int]]) -> None:
    assert {text: total for text, (total, _) in told.items()} == {
        "reading files": 77,
        "decoding images": 77,
        "looking for copies": SEARCH_UNITS * 76,
        "probing for shortcuts": 76,
    }  # fmt: skip
    assert all(total == done for total, done in told.values())


def test_json_has_the_keys_that_others_read(found: Audit, tmp_path: Path) -> None:
    write_audit(tmp_path / "audit.json", found, verdict_on(found).to_dict())
    written = read_json(tmp_path / "audit.json")
    keys = {"n_images", "unreadable", "exact_groups", "near_groups", "leaks", "label_conflicts", "probes", "sources"}
    assert keys | {"verdict"} <= set(written)
    for probe in written["probes"].values():
        assert {"auc", "low", "high", "test_auc"} <= set(probe)
    assert [entry["id"] for entry in written["unreadable"]] == [CUT]
    pair = written["near_pairs"][0]
    assert (MIRROR in pair["images"], pair["change"]) == (True, "mirrored")
    assert json.dumps(to_dict(found), default=str).find(str(tmp_path.parent)) < 0


def test_nothing_but_broken_files_is_refused(tmp_path: Path) -> None:
    for label in ("benign", "malignant"):
        (tmp_path / "d" / label).mkdir(parents=True)
        (tmp_path / "d" / label / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(DataError, match="2 of 2 images cannot be read"):
        audit_data(read_table(tmp_path / "d"), cache=tmp_path / "cache")


def table_of(rows: list[tuple[int, str, str]]) -> ImageTable:
    made = (ImageRow(id=f"{i}", path=Path(f"{i}"), label=label, source=source, split=part)
            for i, (label, source, part) in enumerate(rows))  # fmt: skip
    return ImageTable(root=Path("."), rows=tuple(made))


def test_accuracy_of_the_source_alone_by_hand() -> None:
    """a: mostly malignant in train; b: a tie there; c: not seen there, so the whole training part speaks (5 of 8)."""
    train = [(1, "a", "train")] * 4 + [(0, "a", "train")] + [(1, "b", "train"), (0, "b", "train"), (0, "", "train")]
    test = [(1, "a", "test"), (0, "a", "test"), (1, "b", "test"), (1, "c", "test"), (1, "c", "test")]
    table = table_of(train + test)
    assert _source_accuracy(table, split_of(table)) == pytest.approx((1 + 0.5 + 2) / 5)
    whole = table_of([(1, "a", ""), (1, "a", ""), (0, "a", ""), (0, "b", "")])
    assert _source_accuracy(whole, None) == pytest.approx(3 / 4)
    assert np.isnan(_source_accuracy(table_of([(1, "", ""), (0, "", "")]), None))


def test_fingerprint_changes_with_labels_columns_split_and_pixels(found: Audit) -> None:
    table, pack = found.readable.table, found.readable.pack
    split = split_of(table)
    base = fingerprint(table, pack, split)
    assert fingerprint(table, pack, split) == base
    mask = str(table.rows[1].path)  # any file: its contents count
    for change in ({"label": 1 - table.rows[0].label}, {"source": "x"}, {"lesion": "x"}, {"mask": mask}):
        rows = (replace(table.rows[0], **change), *table.rows[1:])
        assert fingerprint(replace(table, rows=rows), pack, split) != base, change
    masks = (replace(table.rows[0], mask=str(table.rows[i].path)) for i in (1, 2))
    one, other = (fingerprint(replace(table, rows=(row, *table.rows[1:])), pack, split) for row in masks)
    assert one != other
    moved = Split(split.part | {table.ids[0]: "exclude"})
    assert len({base, fingerprint(table, pack, moved), fingerprint(table, pack, None)}) == 3
    repacked = replace(pack, folder=pack.folder.with_name("0" * 64))
    assert fingerprint(table, repacked, split) != base


def test_a_second_audit_from_an_empty_cache_says_the_same(found: Audit, faulty: Path, tmp_path: Path) -> None:
    table = read_table(faulty)
    again = audit_data(table, split=split_of(table), split_name="folders", cache=tmp_path / "cache")
    for name, audit in (("first", found), ("again", again)):
        write_audit(tmp_path / f"{name}.json", audit, verdict_on(audit).to_dict())
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "first.json").read_bytes()


def test_drawn_lesions_without_a_tie_have_nothing_serious(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "free", count=128, size_px=96, seed=3, workers=1)
    table = read_table(folder)
    audit = audit_data(table, split=split_of(table), cache=tmp_path / "cache")
    assert [probe.name for probe in audit.probes if probe.called and not probe.sees_lesion] == []
    assert audit.named("frame") is not None
    assert audit.named("age") is None
    assert (audit.exact_groups, audit.near_groups, audit.leaks, audit.files) == ((), (), (), ())
    assert verdict_on(audit).level == "note"
    assert audit.split == "given"  # it has no name, but it is not missing


def test_readable_images_of_one_class_are_probed_for_nothing(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "half", count=16, size_px=64, seed=2, test_fraction=0.0, workers=1)
    (folder / "metadata.csv").unlink()
    benign, malignant = (sorted((folder / "train" / label).iterdir()) for label in ("benign", "malignant"))
    for path in benign:
        path.write_bytes(b"broken")
    with Image.open(malignant[0]) as image:
        image.save(malignant[0], format="PNG")
    audit = audit_data(read_table(folder), cache=tmp_path / "cache")
    assert [finding.kind for finding in audit.files] == ["unreadable"] * 8 + ["wrong_suffix"]
    assert [finding.id for finding in audit.files] == [path.relative_to(folder).as_posix() for path in benign] + [
        malignant[0].relative_to(folder).as_posix()
    ]
    assert audit.counts == {"benign": 8, "malignant": 8}
    assert all(probe.not_run and not probe.called for probe in audit.probes)
    assert (audit.split, audit.n_test, audit.leaks) == ("", 0, ())
    verdict = verdict_on(audit)
    assert (verdict.level, verdict.sentence) == (
        "serious", "Too few images can be read to say anything of a score on these data."
    )  # fmt: skip
    assert "Shortcuts. Nothing could be probed: " in verdict.findings[1].text


# ---------------------------------------------------------------- leaks, labels and sources by hand


def marked(parts: str, labels: str, **columns: str) -> tuple[ImageTable, Split]:
    """One image a letter: parts t(rain), v(alidation), T(est) or x; labels 0 or 1; a dot is an empty cell."""
    rows = tuple(
        ImageRow(
            id=f"{index}", path=Path(f"{index}"), label=int(label),
            **{name: cells[index].replace(".", "") for name, cells in columns.items()},
        )
        for index, label in enumerate(labels)
    )  # fmt: skip
    names = {"t": "train", "v": "validation", "T": "test", "x": "exclude"}
    return ImageTable(root=Path("."), rows=rows), Split({str(i): names[part] for i, part in enumerate(parts)})


def pairs_of(table: ImageTable, *near: tuple[int, int], exact: tuple[tuple[int, ...], ...] = ()) -> Copies:
    twins = tuple(Twins(one=one, other=other, likeness=0.9, change="in place") for one, other in near)
    return Copies(ids=tuple(table.ids), exact=exact, near=twins)


def test_leaks_by_hand() -> None:
    table, split = marked("tTvtTxTtvT", "0000000000", lesion="aa.bb.cc..", patient="p..p.pp...")
    # Copies: 2 with 3 and, over 3, with 4: three parts. 5 is excluded, so 5 with 6 is none; 0 with 7 is within train.
    copies = pairs_of(table, (2, 3), (5, 6), exact=((0, 7), (3, 4)))
    leaks = [(leak.kind, leak.images, leak.parts, leak.reaches_test) for leak in _leaks(table, copies, split)]
    assert leaks == [
        ("duplicate", ("2", "3", "4"), ("validation", "train", "test"), True),
        ("lesion", ("0", "1"), ("train", "test"), True),
        ("lesion", ("3", "4"), ("train", "test"), True),
        ("lesion", ("6", "7"), ("test", "train"), True),
        ("patient", ("0", "3", "6"), ("train", "train", "test"), True),
    ]
    assert _leaks(table, copies, None) == ()
    early = Split(dict.fromkeys(table.ids, "train") | {"8": "validation"})
    (leak,) = _leaks(table, pairs_of(table, (7, 8)), early)
    assert (leak.images, leak.reaches_test) == (("7", "8"), False)


def test_label_conflicts_by_hand() -> None:
    table, _ = marked("t" * 7, "0110010", lesion="aabb...", patient="ppppppp")
    found = [(c.kind, c.images, c.labels) for c in _label_conflicts(table, pairs_of(table, (4, 5), (0, 3)))]
    # Of one lesion: 0 and 1, 2 and 3. That a patient has moles of both kinds is no conflict.
    assert found == [("duplicate", ("4", "5"), (0, 1)), ("lesion", ("0", "1"), (0, 1)), ("lesion", ("2", "3"), (1, 0))]


def test_sources_by_hand() -> None:
    table, split = marked("ttTTxt", "010110", source="bba.b.")
    counts = [
        (s.name, s.benign, s.malignant, s.test_benign, s.test_malignant, s.has_both) for s in _sources(table, split)
    ]
    assert counts == [("", 1, 1, 0, 1, True), ("a", 1, 0, 1, 0, False), ("b", 1, 1, 0, 0, True)]  # excluded ones apart
    assert [s.test_benign + s.test_malignant for s in _sources(table, None)] == [0, 0, 0]
    assert _sources(marked("tT", "01")[0], None) == ()
    only_train = marked("ttt", "011", source="aab")
    assert np.isnan(_source_accuracy(*only_train))  # no test image to judge


# ---------------------------------------------------------------- copies, kept and heeded


def test_copies_are_searched_once_and_a_damaged_answer_is_made_again(
    found: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = found.readable.pack
    first = find_copies(pack, cache=tmp_path)
    assert {frozenset(group) for group in first.named()} == set(
        map(frozenset, (*found.exact_groups, *found.near_groups))
    )
    real, calls = copies_module.near_twins, []
    monkeypatch.setattr(copies_module, "near_twins", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    told: list[int] = []
    assert find_copies(pack, cache=tmp_path, progress=told.append) == first
    assert (calls, sum(told)) == ([], SEARCH_UNITS * len(pack))
    (file,) = (tmp_path / "copies").iterdir()
    file.write_text("{")  # tests/data/test_copies.py has more ways to damage it
    assert find_copies(pack, cache=tmp_path) == first
    assert len(calls) == 1


def test_grouped_keeps_copies_together_and_stratified_does_not_search(
    found: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = found.readable.table
    grouped = split_apart(table, SplitConfig(protocol="grouped", seed=3), cache=tmp_path)
    for group in (*found.exact_groups, *found.near_groups):
        assert len({grouped.part[name] for name in group}) == 1
    monkeypatch.setattr(copies_module, "find_copies", None)  # would fail
    assert len(split_apart(table, SplitConfig(protocol="stratified"), cache=tmp_path).part) == len(table)


def test_against_counts_shared_images_and_other_labels(faulty: Path, tmp_path: Path) -> None:
    table = read_table(faulty)
    small = table.subset([i for i, row in enumerate(table.rows) if row.split == "test"])
    other = tmp_path / "other"
    names = [row for row in small.rows if row.id not in (TWIN, MIRROR)]
    benign, malignant = (next(row for row in names if row.label == label) for label in (0, 1))
    for label in ("benign", "malignant"):
        (other / label).mkdir(parents=True)
    with Image.open(benign.path) as image:
        image.rotate(90).save(other / "malignant" / "a.jpg", quality=80)  # turned, and with the other label
    shutil.copy(malignant.path, other / "malignant" / "b.jpg")
    shutil.copy(
        next(row.path for row in table.rows if row.split == "train" and row.label == 0), other / "benign" / "c.jpg"
    )
    audit = audit_data(small, against=read_table(other), cache=tmp_path / "cache")
    assert audit.against is not None
    pairs = {(pair[0], pair[1]) for pair in audit.against.pairs}
    assert {(benign.id, "malignant/a.jpg"), (malignant.id, "malignant/b.jpg")} <= pairs
    extra = pairs - {(benign.id, "malignant/a.jpg"), (malignant.id, "malignant/b.jpg")}
    assert extra <= {(TWIN, "benign/c.jpg")}  # the copy of the first training image, if that is it
    assert (audit.against.conflicts, audit.against.n_images) == (1, 3)


# ---------------------------------------------------------------- sentences


def clean(found: Audit) -> Audit:
    return replace(
        found, files=(), exact_groups=(), near_groups=(), near_pairs=(), leaks=(), label_conflicts=(), probes=()
    )


def texts(audit: Audit) -> list[tuple[str, str]]:
    return [(finding.severity, finding.text) for finding in verdict_on(audit).findings]


def test_a_clean_data_set_gets_no_finding(found: Audit) -> None:
    verdict = verdict_on(clean(found))
    assert (verdict.level, verdict.findings) == ("note", ())
    assert verdict.sentence.startswith("Nothing was found that would make a score")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"leaks": (Leak(kind="lesion", images=("a", "b"), parts=("test", "train")),)},
         ("serious", "Leaks. 1 test image of 20 has another photo of the same lesion outside the test part.")),
        ({"leaks": (Leak(kind="patient", images=("a", "b", "c"), parts=("validation", "train", "validation")),)},
         ("warning", "Leaks. 2 validation images have a photo of the same patient among the training images.")),
        ({"label_conflicts": (LabelConflict(kind="duplicate", images=("a", "b"), labels=(0, 1)),)},
         ("serious", "Labels. 1 group of images is of one photograph and called both benign and malignant, "
          "first a and b.")),
        ({"files": (FileFinding(id="x.jpg", kind="unreadable", message="is empty"),)},
         ("warning", "Files. 1 image cannot be read and took no part in what follows, first x.jpg.")),
        ({"files": tuple(FileFinding(id=name, kind="odd_mode", message="grey") for name in ("x.jpg", "y.jpg"))},
         ("warning", "Files. 2 images are not stored as 8-bit RGB, first x.jpg.")),
        ({"split": ""},
         ("note", "Leaks. No split was given and the data has none of its own, so nothing was compared across parts.")),
        ({"against": Against(data="other", n_images=9, shared=1, conflicts=0, pairs=())},
         ("warning", "Other data. 1 image of 77 is also in other: whoever trains on one and tests on the other must "
          "leave it out.")),
        ({"against": Against(data="other", n_images=9, shared=0, conflicts=0, pairs=())},
         ("note", "Other data. No image is also in other.")),
        ({"sources": (SourceCount(name="a", benign=1, malignant=0, test_benign=1, test_malignant=0),
                      SourceCount(name="b", benign=3, malignant=4, test_benign=1, test_malignant=1)),
          "source_accuracy": 0.9},
         ("warning", "Sources. a holds one class only; knowing the source alone is right in 0.900 of the cases on the "
          "test images: a score across sources is a score on sources, and only within b can it be about moles, where "
          "it is clearly above the probes'.")),
    ],
)  # fmt: skip
def test_each_finding_in_words(found: Audit, change: dict[str, object], finding: tuple[str, str]) -> None:
    assert texts(replace(clean(found), **change)) == [finding]  # type: ignore[arg-type]


def test_images_of_one_patient_may_have_both_labels(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", count=16, size_px=64, seed=1, workers=1)
    table = read_table(folder)
    rows = tuple(replace(row, patient="p", lesion="l" if i < 2 else "") for i, row in enumerate(table.rows))
    pack_images(table, image_px=300, cache=tmp_path / "cache")
    audit = audit_data(replace(table, rows=rows), cache=tmp_path / "cache")
    labels = {rows[0].label, rows[1].label}
    assert [conflict.kind for conflict in audit.label_conflicts] == (["lesion"] if len(labels) == 2 else [])
