"""The survey of images: whose mask is used, what is left out and counted, and that a kept survey is the same."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lentigo.data.masks import squeeze_mask
from lentigo.data.pack import ImagePack
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.explain import survey as module
from lentigo.explain.survey import ARTEFACTS, ORIGINS, Segmenter, Survey, survey_images, survey_key
from tests.data.pictures import SIDE_PX, noise, packed, write_mask
from tests.explain.runs import packed_moles

LEAST = module.LEAST_CONFIDENCE


def quarter(side_px: int = SIDE_PX) -> np.ndarray:
    mask = np.zeros((side_px, side_px), bool)
    mask[: side_px // 2, : side_px // 2] = True
    return mask


def flat(levels: Sequence[int]) -> np.ndarray:
    """Pictures of one grey level each, by which what finds something knows them."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), SIDE_PX, SIDE_PX, 3)).copy()


def finds(by_level: dict[int, tuple[np.ndarray, float]]) -> Callable[[np.ndarray], SimpleNamespace]:
    def find(image: np.ndarray) -> SimpleNamespace:
        mask, confidence = by_level[int(image[0, 0, 0])]
        return SimpleNamespace(mask=mask, confidence=confidence)

    return find


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ImageTable, ImagePack]:
    """An expert's mask, an empty one, and three images without: found surely, found unsurely, nothing found."""
    nothing = np.zeros((SIDE_PX, SIDE_PX), bool)
    masks = [write_mask(tmp_path / "masks" / f"{k}.png", mask) for k, mask in enumerate((quarter(), nothing))]
    found = {103: (~quarter(), LEAST), 104: (quarter(), LEAST - 0.01), 105: (nothing, 1.0)}
    monkeypatch.setattr(module, "find_lesion", finds(found))
    return packed(tmp_path, flat([101, 102, 103, 104, 105]), [0, 1, 0, 1, 1], mask=[*masks, "", "", ""])


def survey(of: tuple[ImageTable, ImagePack], **options: Any) -> Survey:
    table, pack = of
    return survey_images(table, pack, **{"cache": table.root / "cache", **options})


def assert_same(one: Survey, other: Survey) -> None:
    assert (one.ids, one.origins, one.least_confidence) == (other.ids, other.origins, other.least_confidence)
    assert_array_equal(one.lesions, other.lesions)
    assert_array_equal(one.confidences, other.confidences)
    assert list(one.artefacts) == list(other.artefacts)
    for name, masks in one.artefacts.items():
        assert_array_equal(masks, other.artefacts[name])


def kept_file(of: tuple[ImageTable, ImagePack]) -> Path:
    (path,) = (of[0].root / "cache" / "surveys").iterdir()
    return path


# ---------------------------------------------------------------- whose mask, and what is left out


def test_states_by_hand(five: tuple[ImageTable, ImagePack]) -> None:
    found = survey(five, size_px=10)
    assert found.ids == tuple(f"{k:04d}.png" for k in range(5))
    assert found.origins == ("expert", "expert", "automatic", "automatic", "automatic")
    assert found.states == ("expert", "expert, empty", "automatic", "automatic, low confidence", "automatic, empty")
    assert found.usable.tolist() == [True, False, True, False, False]
    assert found.confidences.tolist() == [1, 1, LEAST, LEAST - 0.01, 1]
    assert list(found.counts().items()) == [
        ("automatic", 1), ("expert", 1), ("automatic, empty", 1), ("automatic, low confidence", 1), ("expert, empty", 1)
    ]  # fmt: skip
    assert found.size_px == 10
    assert_array_equal(found.lesions[0], quarter(10))
    assert_array_equal(found.lesions[2], ~quarter(10))
    assert found.lesions.sum(axis=(1, 2)).tolist() == [25, 0, 75, 25, 0]


def test_counts_are_of_all_images_and_used_states_are_origins(five: tuple[ImageTable, ImagePack]) -> None:
    found = survey(five)
    counts = found.counts()
    assert sum(counts.values()) == len(five[0])
    assert sum(n for state, n in counts.items() if state in ORIGINS) == found.usable.sum() == 2
    assert set(found.least_confidence) == set(ORIGINS)


def test_of_takes_some_of_the_images_in_their_order(five: tuple[ImageTable, ImagePack]) -> None:
    found = survey(five)
    some = found.of([3, 0])
    assert some.ids == (found.ids[3], found.ids[0])
    assert some.states == ("automatic, low confidence", "expert")
    assert_array_equal(some.lesions, found.lesions[[3, 0]])
    for name in ARTEFACTS:
        assert_array_equal(some.artefacts[name], found.artefacts[name][[3, 0]])


def test_a_plain_mole_is_found_without_a_mask(tmp_path: Path) -> None:
    table, pack, lesions = packed_moles(tmp_path, 6, masked=2)
    found = survey((table, pack), size_px=SIDE_PX)
    assert found.origins == ("expert",) * 2 + ("automatic",) * 4
    assert found.usable.all()
    assert_array_equal(found.lesions[:2], lesions[:2])
    both, either = (found.lesions & lesions).sum(axis=(1, 2)), (found.lesions | lesions).sum(axis=(1, 2))
    assert (both / either).min() > 0.7
    assert not any(masks.any() for masks in found.artefacts.values())  # plain skin


def test_artefacts_are_those_of_their_finders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the image whose mask is given, and squeezed as the lesion is."""
    planes = {name: np.random.default_rng(place).random((2, SIDE_PX, SIDE_PX)) < 0.3 for place, name in enumerate("ab")}
    finders = {name: lambda image, of=planes[name]: of[int(image[0, 0, 0]) - 7] for name in planes}
    monkeypatch.setattr(module, "ARTEFACTS", finders)
    monkeypatch.setattr(module, "find_lesion", finds({8: (quarter(), 1.0)}))
    mask = write_mask(tmp_path / "mask.png", quarter())
    found = survey(packed(tmp_path, flat([7, 8]), [0, 1], mask=[mask, ""]), size_px=20)
    assert list(found.artefacts) == ["a", "b"]
    for name, of_images in planes.items():
        assert_array_equal(found.artefacts[name], np.stack([squeeze_mask(plane, 20) for plane in of_images]))


def test_a_dark_frame_is_seen(tmp_path: Path) -> None:
    images = noise(1, side_px=96)
    down, right = np.mgrid[:96, :96]
    outside = np.hypot(down - 47.5, right - 47.5) > 50
    images[0, outside] = 3
    mask = write_mask(tmp_path / "mask.png", quarter(96))
    found = survey(packed(tmp_path, images, [1], mask=[mask]), size_px=96)
    frame = found.artefacts["frame"][0]
    assert (frame & outside).sum() / (frame | outside).sum() > 0.8


# ---------------------------------------------------------------- refusals


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "wrong.png", quarter(30))
    made = packed(tmp_path, flat([90]), [1], mask=[mask])
    with pytest.raises(DataError, match=r"the mask .*wrong.png is 30 x 30 pixels, its image .*0000.png 48 x 48; give"):
        survey(made)
    assert not (tmp_path / "cache" / "surveys").exists()


@pytest.mark.parametrize("damage", ["gone", "text"])
def test_a_mask_that_cannot_be_read_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = Path(write_mask(tmp_path / "mine.png", quarter()))
    made = packed(tmp_path, flat([90]), [1], mask=[str(path)])
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("no picture")
    with pytest.raises(DataError, match=r"lesion mask .*cannot be read.*mine.png"):
        survey(made)


def test_a_full_disk_is_told(five: tuple[ImageTable, ImagePack], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("lentigo.files.os.replace", full)
    with pytest.raises(DataError, match=r"surveys/\w+.npz cannot be written \(disk full\); free space, or set LENTIGO"):
        survey(five)


# ---------------------------------------------------------------- kept


def test_a_kept_survey_is_the_same_and_finds_nothing_again(
    five: tuple[ImageTable, ImagePack], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    made = survey(five, size_px=13, progress=done.append)  # 5 x 169 bits do not fill their last byte
    assert sum(done) == 5
    monkeypatch.setattr(module, "find_lesion", lambda _: pytest.fail("found again"))
    monkeypatch.setattr(module, "read_mask", lambda *_, **__: pytest.fail("read again"))
    done.clear()
    assert_same(survey(five, size_px=13, progress=done.append), made)
    assert sum(done) == 5


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no survey",
    "truncated": lambda data: data[: len(data) // 2],
    "a wrong byte": lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:],
    "zeros in the middle": lambda data: data[:200] + bytes(100) + data[300:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_survey_is_made_again(five: tuple[ImageTable, ImagePack], damage: str) -> None:
    made = survey(five)
    whole = kept_file(five).read_bytes()
    kept_file(five).write_bytes(DAMAGES[damage](whole))
    assert_same(survey(five), made)
    assert len(kept_file(five).read_bytes()) == len(whole)
    assert_same(survey(five), made)


def test_a_survey_without_a_part_is_made_again(five: tuple[ImageTable, ImagePack]) -> None:
    made = survey(five)
    with np.load(kept_file(five)) as kept:
        parts = {name: kept[name] for name in kept.files if name != "on_hair"}
    np.savez(kept_file(five), **parts)
    assert_same(survey(five), made)


@dataclass
class MadeUp:
    """A segmenter that finds the lower half of everything, and notes what it was asked for."""

    key: str = "weights"
    least_confidence: float = 0.4
    asked: list[list[int]] = field(default_factory=list)

    def __call__(self, pack: ImagePack, indices: Sequence[int], *, size_px: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append([int(index) for index in indices])
        masks = np.zeros((len(indices), size_px, size_px), bool)
        masks[:, size_px // 2 :] = True
        return masks, np.linspace(0.39, 0.41, len(indices))


def test_other_weights_of_the_image_processing_make_another_key(
    five: tuple[ImageTable, ImagePack], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, by_segmenter = survey_key(*five), survey_key(*five, segmenter=MadeUp())
    monkeypatch.setattr(module, "OUTLINE", {**module.OUTLINE, "one": 0.5})
    assert survey_key(*five) != own
    assert survey_key(*five, segmenter=MadeUp()) == by_segmenter


def test_the_key_is_of_images_masks_size_and_segmenter(five: tuple[ImageTable, ImagePack]) -> None:
    table, pack = five
    key = survey_key(table, pack)
    assert survey_key(table, pack) == key
    elsewhere = write_mask(table.root / "other" / "place.png", quarter())
    moved = replace(table, rows=(replace(table.rows[0], mask=elsewhere), *table.rows[1:]))
    assert survey_key(moved, pack) == key  # the same mask in another file
    keys = {
        key,
        survey_key(table, pack, size_px=50),
        survey_key(table, pack, segmenter=MadeUp()),
        survey_key(table, pack, segmenter=MadeUp(key="others")),
        survey_key(table, pack, segmenter=MadeUp(least_confidence=0.5)),
        survey_key(table.subset([0, 1]), pack.subset([0, 1])),
        survey_key(table.subset([1, 0]), pack.subset([1, 0])),
    }
    write_mask(Path(table.rows[0].mask), ~quarter())
    keys.add(survey_key(table, pack))
    assert len(keys) == 8


def test_another_mask_is_another_survey(five: tuple[ImageTable, ImagePack]) -> None:
    before = survey(five)
    write_mask(Path(five[0].rows[0].mask), ~quarter())
    after = survey(five)
    assert_array_equal(after.lesions[0], ~before.lesions[0])
    assert_array_equal(after.lesions[1:], before.lesions[1:])


# ---------------------------------------------------------------- by a segmenter


def test_a_segmenter_is_asked_for_what_no_mask_is_given_for(
    five: tuple[ImageTable, ImagePack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_lesion", lambda _: pytest.fail("image processing was asked"))
    segmenter = MadeUp()
    assert isinstance(segmenter, Segmenter)
    found = survey(five, segmenter=segmenter, size_px=10)
    assert segmenter.asked == [[2, 3, 4]]
    assert found.states == ("expert", "expert, empty", "segmenter, low confidence", "segmenter", "segmenter")
    assert found.lesions[2:].sum(axis=(1, 2)).tolist() == [50] * 3
    assert found.confidences.tolist() == pytest.approx([1, 1, 0.39, 0.40, 0.41])
    assert_same(survey(five, segmenter=segmenter, size_px=10), found)
    assert len(segmenter.asked) == 1  # kept


def test_a_segmenter_is_not_asked_where_all_masks_are_given(tmp_path: Path) -> None:
    table, pack, lesions = packed_moles(tmp_path, 3)
    segmenter = MadeUp()
    found = survey((table, pack), segmenter=segmenter, size_px=SIDE_PX)
    assert segmenter.asked == []
    assert found.origins == ("expert",) * 3
    assert_array_equal(found.lesions, lesions)


def test_an_image_is_done_when_its_lesion_is_found(
    five: tuple[ImageTable, ImagePack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress never runs ahead of the segmenter, which takes most of the time; pieces without work do not ask it."""
    monkeypatch.setattr(module, "_IN_FLIGHT", 2)
    events: list[object] = []

    class Noted(MadeUp):
        def __call__(self, pack: ImagePack, indices: Sequence[int], *, size_px: int) -> tuple[np.ndarray, np.ndarray]:
            events.append(list(indices))
            return super().__call__(pack, indices, size_px=size_px)

    found = survey(five, segmenter=Noted(), size_px=10, progress=events.append)
    assert events == [2, [2, 3], 2, [4], 1]
    assert found.confidences.tolist() == pytest.approx([1, 1, 0.39, 0.41, 0.39])
    assert found.lesions[2:, 5:].all()


def test_counts_are_json(five: tuple[ImageTable, ImagePack]) -> None:
    assert json.loads(json.dumps(survey(five).counts()))["expert"] == 1
