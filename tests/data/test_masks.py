"""Lesion masks come back as their files have them; one that does not fit its image is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lentigo.data.masks import pack_masks, read_mask, squeeze_mask
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.errors import DataError
from tests.data.pictures import write_mask


def table_of(folder: Path, masks: list[np.ndarray | None]) -> ImageTable:
    """Grey images, each of the size of its mask; None: an image of 8 x 8 pixels without one."""
    rows = []
    for index, mask in enumerate(masks):
        path = folder / f"{index}.png"
        Image.fromarray(np.full((*(mask.shape if mask is not None else (8, 8)), 3), 90, dtype=np.uint8)).save(path)
        named = "" if mask is None else write_mask(folder / "masks" / path.name, mask)
        rows.append(ImageRow(id=path.name, path=path, label=index % 2, mask=named))
    return ImageTable(root=folder, rows=tuple(rows))


def random_mask(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < 0.5


@pytest.mark.parametrize("inside", [1, 128, 255])
def test_read_mask_by_hand(tmp_path: Path, inside: int) -> None:
    mask = np.array([[True, False, False], [True, True, False]])
    path = Path(write_mask(tmp_path / "mask.png", mask, inside=inside))
    assert read_mask(path).tolist() == mask.tolist()


def test_half_of_the_brightest_is_outside(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 101, 200]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_mask_of_any_colour_is_read(tmp_path: Path, channel: int) -> None:
    mask, pixels = random_mask(6, 9), np.zeros((6, 9, 3), dtype=np.uint8)
    pixels[..., channel] = mask * np.uint8(200)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == mask.tolist()


@pytest.mark.parametrize("mode", ["1", "P"])
def test_masks_of_one_bit_and_of_a_palette_are_read(tmp_path: Path, mode: str) -> None:
    mask = random_mask(6, 9)
    image = Image.fromarray(mask)
    if mode == "P":
        image = Image.new("P", (9, 6))
        image.putdata(mask.flatten().astype(int).tolist())
        image.putpalette([0, 0, 0, 0, 128, 0])
    image.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == mode
    assert read_mask(tmp_path / "mask.png").tolist() == mask.tolist()


def test_noise_in_an_empty_mask_is_no_lesion(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (16, 16), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert not read_mask(tmp_path / "noise.png").any()
    Image.fromarray(np.kron(random_mask(2, 2), np.full((8, 8), 2, np.uint8))).save(tmp_path / "two.jpg", quality=100)
    with Image.open(tmp_path / "two.jpg") as written:
        assert set(np.asarray(written).flat) == {0, 2}  # as labels would be, but JPEG makes such by itself
    assert not read_mask(tmp_path / "two.jpg").any()


@pytest.mark.parametrize(("brightest", "found"), [(31, False), (32, True)])
def test_from_32_of_255_on_a_mask_holds_a_lesion(tmp_path: Path, brightest: int, found: bool) -> None:
    Image.fromarray(np.array([[0, 3, brightest]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, False, found]]


def test_a_jpeg_mask_of_a_lesion_is_read(tmp_path: Path) -> None:
    mask = np.kron(random_mask(4, 4), np.ones((8, 8), bool))
    Image.fromarray(mask * np.uint8(255)).save(tmp_path / "mask.jpg")
    assert (read_mask(tmp_path / "mask.jpg") == mask).all()


@pytest.mark.parametrize("inside", [1, 255])
def test_a_mask_that_is_all_lesion_is_so(tmp_path: Path, inside: int) -> None:
    assert read_mask(Path(write_mask(tmp_path / "mask.png", np.ones((3, 4), dtype=bool), inside=inside))).all()


def test_an_empty_mask_is_empty(tmp_path: Path) -> None:
    assert not read_mask(Path(write_mask(tmp_path / "mask.png", np.zeros((3, 4), dtype=bool)))).any()


def test_a_mask_of_another_size_is_refused_with_both_files(tmp_path: Path) -> None:
    table = table_of(tmp_path, [random_mask(6, 9)])
    write_mask(Path(table.rows[0].mask), random_mask(6, 8))
    message = r"the mask .*masks/0.png is 8 x 6 pixels, its image .*0.png 9 x 6; give the mask of that very image, or"
    for read in (lambda: read_mask(Path(table.rows[0].mask), image=table.rows[0].path),
                 lambda: pack_masks(table, [0], size_px=8)):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read()


def test_a_mask_is_compared_with_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.new("RGB", (9, 6)).save(tmp_path / "image.jpg", exif=exif)
    path = Path(write_mask(tmp_path / "mask.png", random_mask(9, 6)))
    assert read_mask(path, image=tmp_path / "image.jpg").shape == (9, 6)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    table = table_of(tmp_path, [random_mask(6, 9), random_mask(6, 9)])
    path = Path(table.rows[1].mask)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"^a lesion mask or its image cannot be read: .*masks/1\.png (is|does not)"):
        pack_masks(table, [0, 1], size_px=8)


def test_pack_by_hand(tmp_path: Path) -> None:
    masks = [random_mask(5, 5, 1), None, np.zeros((5, 5), dtype=bool), random_mask(5, 5, 2)]
    table = table_of(tmp_path, masks)
    told: list[int] = []
    found = pack_masks(table, [3, 2, 1], size_px=5, progress=told.append)
    assert found.there.tolist() == [False, False, False, True]  # the first was not asked for
    assert (found.without, found.empty) == (("1.png",), ("2.png",))
    assert found.among(np.array([3, 1, 2, 3])).tolist() == [3, 3]
    assert found.read([3]).tolist() == [masks[3].tolist()]
    assert sum(told) == 2
    with pytest.raises(DataError, match=r"^image 2 of the table has no mask; leave it out$"):
        found.read([3, 2])


def test_reading_keeps_the_order_and_takes_an_eighth_of_the_memory(tmp_path: Path) -> None:
    masks = [random_mask(16, 16, seed) for seed in range(5)]
    found = pack_masks(table_of(tmp_path, list(masks)), range(5), size_px=16)
    assert np.array_equal(found.read([4, 0, 2, 0]), np.stack([masks[index] for index in (4, 0, 2, 0)]))
    assert found.bits.nbytes == 5 * 16 * 16 // 8
    assert found.read([]).shape == (0, 16, 16)


def test_no_mask_asked_for(tmp_path: Path) -> None:
    found = pack_masks(table_of(tmp_path, [random_mask(4, 4)]), [], size_px=4)
    assert not found.there.any()


# ---------------------------------------------------------------- squeezing


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 12), factor=st.integers(2, 4), seed=st.integers(0, 99))
def test_halves_stay_halves(side: int, factor: int, seed: int) -> None:
    """A border that runs between two pixels stays where it is, whichever way round the mask is."""
    left = np.zeros((2 * side * factor, 2 * side * factor), dtype=bool)
    left[:, : side * factor] = True
    expected = np.zeros((2 * side, 2 * side), dtype=bool)
    expected[:, :side] = True
    turns = seed % 4
    assert np.array_equal(squeeze_mask(np.rot90(left, turns), 2 * side), np.rot90(expected, turns))


@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 60), (90, 20)])
def test_a_disc_keeps_its_share_and_place(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    disc = np.hypot((y + 0.5) / height - 0.4, (x + 0.5) / width - 0.6) < 0.25
    squeezed = squeeze_mask(disc, 32)
    y, x = np.mgrid[:32, :32]
    expected = np.hypot((y + 0.5) / 32 - 0.4, (x + 0.5) / 32 - 0.6) < 0.25
    assert (squeezed != expected).mean() < 0.02


def test_squeezed_to_its_own_size_is_the_same() -> None:
    mask = random_mask(7, 7)
    assert squeeze_mask(mask, 7) is mask


@pytest.mark.real
def test_real_masks_fit_their_images(real_data: Path) -> None:
    table = read_table(real_data / "isic2017")
    rows = np.flatnonzero(np.array(table.column("mask")) != "")[::200]
    found = pack_masks(table, rows, size_px=128)
    assert found.empty == ()
    areas = found.read(rows).mean(axis=(1, 2))
    own = np.array([read_mask(Path(table.rows[row].mask)).mean() for row in rows])
    assert np.abs(areas - own).max() < 0.01
