"""The probes: silent on drawn lesions without a tie, loud on tied ones; their numbers recomputed; edges; sentences."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lentigo.config import SplitConfig
from lentigo.data import shortcuts
from lentigo.data.inspection import inspect_files
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.probe_views import View
from lentigo.data.probe_words import meaning_of
from lentigo.data.shortcuts import Probe, run_probes
from lentigo.data.split import Split, groups_of, make_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import DataError
from lentigo.evidence.intervals import Interval, auc_interval
from lentigo.files import read_json, write_json
from tests.data.pictures import noise, packed

BLIND = ["frame", "corners", "dark_corners", "outside_mask", "file_header", "skin_tone"]  # see no lesion
SEEING = ["colour", "thumbnail", "file_size"]


def probed_drawing(folder: Path, **drawing: Any) -> dict[str, Probe]:
    """Every probe on drawn lesions."""
    write_dataset(folder / "drawn", workers=1, **drawing)
    table = read_table(folder / "drawn")
    split = make_split(table, SplitConfig(protocol="folders"))
    pack = pack_images(table, image_px=drawing["size_px"], cache=folder / "cache")
    return probed(table, pack, facts=inspect_files(table), groups=groups_of(table), split=split)


def probed(table: ImageTable, pack: ImagePack, **more: Any) -> dict[str, Probe]:
    more.setdefault("groups", list(range(len(table))))
    return {probe.name: probe for probe in run_probes(table, pack, **more)}


def parts_of(table: ImageTable, *parts: str) -> Split:
    """A split that deals these parts in turn."""
    return Split({name: parts[index % len(parts)] for index, name in enumerate(table.ids)})


def two_colours(n: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Pictures whose frame is darker in malignant ones, by as much as it varies."""
    images, labels = noise(n, seed), np.arange(n) % 2
    shade = (np.random.default_rng(seed + 1).normal(0, 12, n) + 24 * labels)[:, None, None, None]
    edge = np.ones(images.shape[1:3], dtype=np.bool_)
    edge[3:-3, 3:-3] = False
    return np.where(edge[..., None], (120 - shade).clip(0, 255).astype(np.uint8), images), labels.tolist()


# ---------------------------------------------------------------- on drawn lesions


def test_untied_drawings_have_no_shortcut(tmp_path: Path) -> None:
    probes = probed_drawing(tmp_path, count=200, seed=3, size_px=64)
    assert list(probes) == [*BLIND, *SEEING]
    for name in BLIND:
        assert not probes[name].called, probes[name]
        assert probes[name].meaning.startswith("The label cannot be told from")
    assert probes["thumbnail"].called  # the lesion itself is in it
    assert probes["frame"].lesion_share < 0.01


@pytest.mark.parametrize(
    ("kind", "tied", "free"),
    [
        ("frame", ["frame", "corners", "dark_corners", "outside_mask"], ["skin_tone", "file_header"]),
        ("skin", ["frame", "corners", "outside_mask", "skin_tone"], ["dark_corners", "file_header"]),
    ],
)
def test_tied_drawings_are_called(tmp_path: Path, kind: str, tied: list[str], free: list[str]) -> None:
    probes = probed_drawing(tmp_path, count=200, seed=4, size_px=64, shortcut=0.8, shortcut_kind=kind)
    for name in tied:
        assert probes[name].called, probes[name]
        assert probes[name].auc > 0.8
        assert probes[name].test_auc > 0.7
        assert f"An AUC of {probes[name].auc:.2f} (" in probes[name].meaning
        says = "scores where it is the same." if name == "skin_tone" else "of this size says nothing about moles."
        assert probes[name].meaning.endswith(says)
    for name in free:
        assert not probes[name].called, probes[name]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_untied_drawings_have_no_shortcut_for_any_seed(tmp_path: Path, seed: int) -> None:
    probes = probed_drawing(tmp_path, count=384, seed=seed, size_px=96)
    assert [name for name in BLIND if probes[name].called] == []
    assert probes["thumbnail"].called


# ---------------------------------------------------------------- what the numbers are


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageTable, ImagePack, Split, dict[str, Probe]]:
    """A frame that tells the label, sources of which one holds a single class, a quarter of the images in test."""
    folder = tmp_path_factory.mktemp("tied")
    images, labels = two_colours(240)
    sources = ["clinic" if i % 2 or i % 8 == 0 else "archive" if i % 8 == 2 else "" for i in range(240)]
    table, pack = packed(folder, images, labels, source=sources)
    split = parts_of(table, "train", "train", "train", "train", "test", "test", "validation", "exclude")
    return table, pack, split, probed(table, pack, split=split)


def test_numbers_are_those_of_their_images(tied: tuple[ImageTable, ImagePack, Split, dict[str, Probe]]) -> None:
    table, _, split, probes = tied
    frame = probes["frame"]
    assert frame.called
    assert frame.n_images == 210  # without the excluded
    assert frame.n_test == 60
    assert frame.n_features == 24
    assert set(frame.test_logits) == {table.ids[index] for index in split.indices(table, "test")}
    labels = {row.id: row.label for row in table.rows}
    logits = np.array(list(frame.test_logits.values()))
    truth = np.array([labels[name] for name in frame.test_logits])
    expected = auc_interval(truth, logits)
    assert (frame.test_auc, frame.test_low, frame.test_high) == (expected.value, expected.low, expected.high)
    assert frame.test_accuracy == ((logits >= 0) == (truth == 1)).mean()
    assert frame.test_auc > 0.8
    assert frame.low < frame.auc < frame.high


def test_scores_within_each_source_that_holds_both_classes(
    tied: tuple[ImageTable, ImagePack, Split, dict[str, Probe]],
) -> None:
    table, _, split, probes = tied
    test = split.indices(table, "test")  # every fifth and sixth of eight: benign 4, malignant 5, of index mod 8
    assert {table.rows[index].source for index in test if index % 8 == 5} == {"clinic"}
    assert {table.rows[index].source for index in test if index % 8 == 4} == {""}
    assert probes["frame"].within == {}  # the only source with a name holds malignant test images alone
    everywhere = parts_of(table, "train", "train", "train", "test", "test", "test", "test", "test", "test")
    probes = probed(table, tied[1], split=everywhere)
    within = probes["frame"].within
    assert list(within) == ["clinic"]  # the archive is all benign, and no name is no source
    chosen = [row for row in table.rows if row.source == "clinic" and everywhere.part[row.id] == "test"]
    labels = np.array([row.label for row in chosen])
    expected = auc_interval(labels, np.array([probes["frame"].test_logits[row.id] for row in chosen]))
    found = within["clinic"]
    assert (found.auc, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert (found.n, found.n_malignant) == (len(chosen), int(labels.sum()))
    # The column itself tells nothing inside a source.
    assert probes["source"].within["clinic"].auc == 0.5


def test_same_inputs_and_seed_give_the_same_numbers_and_progress(
    tied: tuple[ImageTable, ImagePack, Split, dict[str, Probe]],
) -> None:
    table, pack, split, probes = tied
    done: list[int] = []
    again = probed(table, pack, split=split, progress=done.append)
    assert repr(again) == repr(probes)  # NaN is not equal to itself, but its name is
    assert again["frame"].test_logits == probes["frame"].test_logits
    assert sum(done) == len(table)
    assert min(done) > 0
    assert len(done) > 5  # while it works, not at its end
    other = probed(table, pack, split=split, seed=1)
    assert other["frame"].auc != probes["frame"].auc
    assert other["frame"].auc == pytest.approx(probes["frame"].auc, abs=0.05)


def test_dict_is_json_without_logits(
    tied: tuple[ImageTable, ImagePack, Split, dict[str, Probe]], tmp_path: Path
) -> None:
    probes = tied[3]
    write_json(tmp_path / "probes.json", {name: probe.to_dict() for name, probe in probes.items()})
    read = read_json(tmp_path / "probes.json")
    assert read["frame"]["auc"] == probes["frame"].auc
    assert read["frame"]["called"] is True
    assert read["outside_mask"]["auc"] is None  # was not run
    assert read["outside_mask"]["not_run"] == "no image has a lesion mask"
    assert "test_logits" not in read["frame"]
    assert "test_logits" not in repr(probes["frame"])


def test_without_facts_only_the_file_views_are_not_run(
    tied: tuple[ImageTable, ImagePack, Split, dict[str, Probe]],
) -> None:
    probes = tied[3]
    assert [name for name, probe in probes.items() if probe.not_run] == ["outside_mask", "file_header", "file_size"]
    assert probes["file_size"].meaning == "File size was not probed: no file was inspected."
    assert math.isnan(probes["file_size"].p_value)


# ---------------------------------------------------------------- large sets and groups


def test_large_sets_are_learned_from_in_part_and_tested_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "MAX_FITTED", 60)
    images, labels = two_colours(160)
    table, pack = packed(tmp_path, images, labels)
    groups = [index // 4 for index in range(160)]
    probes = probed(table, pack, groups=groups, split=parts_of(table, "train", "train", "test", "test"))
    assert probes["frame"].n_images == 60
    assert probes["frame"].n_test == 80
    chosen = shortcuts._whole_groups(np.array(groups), 0)
    assert chosen.sum() == 60
    assert {chosen[4 * group : 4 * group + 4].sum() for group in range(40)} == {0, 4}
    assert (shortcuts._whole_groups(np.array(groups), 1) != chosen).any()
    huge = np.array([0] * 100 + list(range(1, 61)))  # a group that does not fit is passed over
    np.testing.assert_array_equal(shortcuts._whole_groups(huge, 0), huge > 0)


def test_copies_in_groups_prove_nothing(tmp_path: Path) -> None:
    """Eight patients of fifteen like images: split over folds they would score 1.0, and 120 images look like many."""
    images = np.repeat(noise(8, seed=5), 15, axis=0) + np.random.default_rng(0).integers(0, 3, (120, 48, 48, 3))
    labels, groups = np.repeat(np.arange(8) % 2, 15).tolist(), np.repeat(np.arange(8), 15).tolist()
    table, pack = packed(tmp_path, images.astype(np.uint8), labels)
    alone, together = probed(table, pack), probed(table, pack, groups=groups)
    assert alone["frame"].auc > 0.99
    assert alone["frame"].called
    assert not together["frame"].called
    assert together["frame"].high - together["frame"].low > 0.4


def test_groups_of_both_classes_and_a_huge_one(tmp_path: Path) -> None:
    table, pack = packed(tmp_path, noise(60), [0, 1] * 30)
    probes = probed(table, pack, groups=[max(0, index - 40) for index in range(60)])
    assert probes["frame"].n_images == 60
    assert not probes["frame"].called
    one = probed(table, pack, groups=[0] * 60)
    assert {probe.auc for probe in one.values() if not math.isnan(probe.auc)} == set()
    assert one["frame"].not_run.startswith("groups of like images with benign ones: 1, with malignant ones: 1")


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("n", [4, 8, 30])
def test_few_images_call_nothing(tmp_path: Path, n: int) -> None:
    table, pack = packed(tmp_path, noise(n), [0, 1] * (n // 2), age=["50"] * n, site=["arm", ""] * (n // 2))
    probes = probed(table, pack, split=parts_of(table, "train", "train", "test", "test"))
    for name in ("frame", "thumbnail", "age"):
        assert not probes[name].called
        assert 0 <= probes[name].low <= probes[name].auc <= probes[name].high <= 1
        assert 0 < probes[name].p_value <= 1
    assert probes["age"].auc == 0.5
    assert probes["age"].p_value == 1
    if n == 30:  # the site is the label; 4 and 8 images are too few to say so
        assert probes["site"].auc == 1


def test_one_class_is_not_run(tmp_path: Path) -> None:
    table, pack = packed(tmp_path, noise(6), [0] * 6)
    for probe in probed(table, pack).values():
        assert probe.not_run
        assert not probe.called
        assert probe.meaning.startswith(f"{probe.title} was not probed: ")


def test_one_class_in_test_leaves_the_test_auc_undefined(tmp_path: Path) -> None:
    images, labels = two_colours(40)
    table, pack = packed(tmp_path, images, labels, source=["a"] * 40)
    split = Split({row.id: "test" if row.label and index > 20 else "train" for index, row in enumerate(table.rows)})
    frame = probed(table, pack, split=split)["frame"]
    assert math.isnan(frame.test_auc)
    assert math.isnan(frame.test_low)
    assert frame.n_test == 10
    assert 0 <= frame.test_accuracy <= 1
    assert frame.within == {}
    assert not math.isnan(frame.auc)
    untrained = probed(table, pack, split=Split(dict.fromkeys(table.ids, "test")))["frame"]  # nothing to learn from
    assert untrained.n_test == 0
    assert untrained.test_logits == {}


@pytest.mark.parametrize("level", [0, 128])
def test_pictures_all_alike_tell_nothing(tmp_path: Path, level: int) -> None:
    table, pack = packed(tmp_path, np.full((40, 48, 48, 3), level, dtype=np.uint8), [0, 1, 1, 1] * 10)
    for name, probe in probed(table, pack, split=parts_of(table, "train", "train", "test", "test", "test")).items():
        if name in ("frame", "corners", "dark_corners", "colour", "thumbnail"):
            assert (probe.auc, probe.test_auc, probe.p_value, probe.called) == (0.5, 0.5, 1.0, False)
            assert probe.low < 0.5 < probe.high


def test_refusals(tmp_path: Path) -> None:
    table, pack = packed(tmp_path, noise(4), [0, 1] * 2)
    with pytest.raises(DataError, match="is not of the images of"):
        run_probes(table.subset([0, 1, 2]), pack, groups=[0, 1, 2])
    with pytest.raises(DataError, match="3 group numbers were given for 4 images; give one an image"):
        run_probes(table, pack, groups=[0, 1, 2])
    with pytest.raises(DataError, match=r"the split leaves out 1 images of .*, first 0003\.png; give each a part"):
        run_probes(table, pack, groups=range(4), split=Split(dict.fromkeys(table.ids[:3], "train")))
    with pytest.raises(DataError, match="the split excludes all images"):
        run_probes(table, pack, groups=range(4), split=parts_of(table, "exclude"))


# ---------------------------------------------------------------- sentences


def view_of(name: str, seen: str, **more: Any) -> View:
    given = {"title": name, "sees_lesion": False, "features": np.zeros((1, 0), np.float32), "known": np.ones(1, bool)}
    return View(name=name, seen=seen, **(given | more))


FRAME, HEADER = view_of("frame", "the outer 8 pixels"), view_of("file_header", "the file's header alone")
COLOUR = view_of("colour", "the colours of the whole picture", sees_lesion=True)


@pytest.mark.parametrize(
    ("view", "auc", "p_value", "called", "expected"),
    [
        (
            FRAME, (0.94, 0.93, 0.95), 0.006, True,
            "An AUC of 0.94 (0.91 on the test images) can be had from the outer 8 pixels, where a lesion seldom "
            "reaches: a score of this size says nothing about moles.",
        ),
        (
            view_of("frame", "the outer 8 pixels", lesion_share=0.037), (0.94, 0.93, 0.95), 0.006, True,
            "An AUC of 0.94 (0.91 on the test images) can be had from the outer 8 pixels, of which 3.7 % is lesion "
            "where a mask tells: a score of this size says nothing about moles.",
        ),
        (
            COLOUR, (0.96, 0.95, 0.97), 0.006, True,
            "An AUC of 0.96 (0.91 on the test images) can be had from the colours of the whole picture, lesion "
            "included: a network that scores no higher may have learned colours and nothing else.",
        ),
        (
            HEADER, (0.53, 0.51, 0.55), 0.006, False,
            "A trace of the label can be had from the file's header alone, without a look at the picture (AUC 0.53, "
            "95 % interval 0.51 to 0.55, adjusted p = 0.006): too little to explain a high score.",
        ),
        (
            HEADER, (0.7, 0.56, 0.84), 0.03, False,
            "The label may be told from the file's header alone, without a look at the picture (AUC 0.70, 95 % "
            "interval 0.56 to 0.84, adjusted p = 0.03), but not beyond doubt: of the models on shuffled labels, too "
            "many do as well.",
        ),
        (
            view_of("frame", "the outer 8 pixels", lesion_share=0.0), (0.51, 0.48, 0.54), 0.6, False,
            "The label cannot be told from the outer 8 pixels, with no lesion in them, better than by chance "
            "(AUC 0.51, 95 % interval 0.48 to 0.54, adjusted p = 0.6).",
        ),
        (
            view_of("outside_mask", "the skin"), (0.5, 0.3, 0.7), 1.0, False,
            "The label cannot be told from the skin better than by chance (AUC 0.50, 95 % interval 0.30 to 0.70, "
            "adjusted p = 1). "
            "With 1,200 images an AUC of up to 0.70 is not ruled out.",
        ),
    ],
)  # fmt: skip
def test_meanings(view: View, auc: tuple[float, ...], p_value: float, called: bool, expected: str) -> None:
    found = meaning_of(
        view, auc=Interval(*auc), test_auc=0.91, n_images=1200, p_value=p_value, called=called, not_run=""
    )
    assert found == expected


def test_meaning_without_a_test_part_or_a_run() -> None:
    given = {"auc": Interval(0.94, 0.93, 0.95), "n_images": 9, "p_value": 0.001, "called": True}
    assert "An AUC of 0.94 can be had" in meaning_of(FRAME, test_auc=math.nan, not_run="", **given)
    assert meaning_of(FRAME, test_auc=math.nan, not_run="no mask", **given) == "frame was not probed: no mask."


# ---------------------------------------------------------------- real images


@pytest.mark.real
@pytest.mark.slow
def test_frame_and_thumbnail_of_the_papers_images(real_data: Path, tmp_path: Path) -> None:
    """PAPER.md: on Kaggle's test folder a frame scores 0.943, a thumbnail 0.971 and 0.908; less within ISIC 2020."""
    table = read_table(real_data / "kaggle10605")
    pack = pack_images(table, image_px=300, cache=tmp_path)
    split = make_split(table, SplitConfig(protocol="folders"))
    probes = probed(table, pack, groups=groups_of(table), split=split)
    assert probes["frame"].test_auc == pytest.approx(0.955, abs=0.015)
    assert probes["thumbnail"].test_auc == pytest.approx(0.971, abs=0.01)
    assert probes["thumbnail"].test_accuracy == pytest.approx(0.91, abs=0.015)
    assert probes["source"].test_accuracy == pytest.approx(0.916, abs=0.005)
    assert list(probes["frame"].within) == ["isic2020"]
    assert probes["frame"].within["isic2020"].auc < 0.85
    assert (probes["frame"].within["isic2020"].n, probes["frame"].within["isic2020"].n_malignant) == (584, 84)
    called = {name for name, probe in probes.items() if probe.called}
    assert {"frame", "corners", "dark_corners", "source", "colour", "thumbnail"} <= called
