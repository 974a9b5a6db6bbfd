"""The pack: what is in it, that it is reused, and that no damage and no half of one gets through."""

import errno
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lentigo.data import pack as pack_module
from lentigo.data.pack import ImagePack, default_cache, open_pack, pack_images, pack_readable
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.errors import DataError
from lentigo.files import sha256_of
from lentigo.imaging import file_bytes, read_image
from tests.corpus import Bad, Good, bad_files, good_files

SIZES = [(20, 20), (37, 21), (9, 16), (20, 31), (64, 64), (5, 90)]  # height, width


def image_table(root: Path, sizes: list[tuple[int, int]] | None = None, *, suffix: str = ".png") -> ImageTable:
    """Images of noise, every second one malignant."""
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes or SIZES):
        path = root / ("benign", "malignant")[number % 2] / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return read_table(root)


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    return image_table(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_in(cache: Path) -> list[str]:
    return sorted(path.relative_to(cache / "packs").as_posix() for path in (cache / "packs").rglob("*"))


def whole(pack: ImagePack) -> np.ndarray:
    return pack.read(range(len(pack)))


# ---------------------------------------------------------------- what is in it


def test_images_are_read_and_squeezed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=20, cache=cache)
    assert (list(pack.ids), pack.image_px, len(pack)) == (table.ids, 20, len(SIZES))
    for index, row in enumerate(table.rows):
        squeezed = Image.fromarray(read_image(row.path)).resize((20, 20), Image.Resampling.BILINEAR)
        assert np.array_equal(pack.read([index])[0], np.asarray(squeezed))
    square = table.ids.index("benign/0.png")
    assert np.array_equal(pack.read([square])[0], read_image(table.rows[square].path))  # of that size: untouched


def test_read_gives_any_order(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=16, cache=cache)
    every = whole(pack)
    assert every.dtype == np.uint8
    assert np.array_equal(pack.read(np.array([4, 0, 4])), every[[4, 0, 4]])
    assert pack.read([]).shape == (0, 16, 16, 3)


def test_the_file_is_a_plain_npy_that_numpy_would_write_alike(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=16, cache=cache)
    path = cache / "packs" / pack.key / "images.npy"
    assert np.array_equal(np.load(path, mmap_mode="r"), whole(pack))
    buffer = io.BytesIO()
    np.save(buffer, whole(pack))
    assert buffer.getvalue() == path.read_bytes()


@pytest.mark.parametrize(("count", "image_px"), [(1, 8), (10605, 300), (10**9, 2048)])
def test_header_equals_numpys(count: int, image_px: int) -> None:
    buffer = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (count, image_px, image_px, 3)}
    np.lib.format.write_array_header_1_0(buffer, about)
    assert pack_module._header(count, image_px) == buffer.getvalue()


def test_progress_counts_every_image(tmp_path: Path, cache: Path) -> None:
    table = image_table(tmp_path / "many", [(4, 4)] * 150)
    done: list[int] = []
    pack_images(table, image_px=8, cache=cache, progress=done.append)
    assert done == [64, 64, 22]
    done.clear()
    pack_images(table, image_px=8, cache=cache, progress=done.append)
    assert done == [150]


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: ImageTable) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "lentigo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "lentigo"
    monkeypatch.setenv("LENTIGO_CACHE", "~/packs")
    assert default_cache() == Path.home() / "packs"
    monkeypatch.setenv("LENTIGO_CACHE", str(tmp_path / "own"))
    assert pack_images(table, image_px=8).folder.parent == tmp_path / "own" / "packs"


# ---------------------------------------------------------------- a part of it


def test_a_subset_reads_the_images_of_the_whole(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=16, cache=cache)
    every, rows = whole(pack), [4, 0, 3]
    for chosen in (rows, np.array(rows), tuple(rows)):
        part = pack.subset(chosen)
        assert (len(part), part.image_px, part.folder) == (3, 16, pack.folder)
        assert list(part.ids) == [table.ids[row] for row in rows] == table.subset(rows).ids
        assert np.array_equal(whole(part), every[rows])
        assert np.array_equal(part.read([2, 2, 0]), every[[3, 3, 4]])
        assert list(part.crc32) == [zlib.crc32(image.tobytes()) for image in every[rows]]


def test_a_subset_of_a_subset(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=16, cache=cache)
    part = pack.subset([5, 2, 1, 3]).subset([3, 0, 1])
    assert np.array_equal(whole(part), whole(pack)[[3, 5, 2]])
    assert part == pack.subset([3, 5, 2])
    assert part.key == pack.subset([3, 5, 2]).key
    assert len(pack.subset([])) == len(part.subset([])) == 0


def test_the_key_of_a_subset_follows_images_and_order(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=16, cache=cache)
    choices = [[0, 1], [1, 0], [0], [0, 1, 2], [], list(range(6))]
    keys = [pack.subset(rows).key for rows in choices]
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)
    assert len({pack.key, *keys}) == len(choices) + 1
    assert pack.subset(np.array([0, 1])).key == keys[0]
    # Of the file as it is opened again, and of no other file; written down, since caches keep answers under it.
    assert open_pack(pack.folder, table.ids).subset([0, 1]).key == keys[0]
    assert pack_images(table, image_px=8, cache=cache).subset([0, 1]).key != keys[0]
    assert keys[0] == hashlib.sha256(f"{pack.key} (0, 1)".encode()).hexdigest()


def test_damage_is_noticed_in_a_subset_of_it_alone(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    flip(pack.folder / "images.npy", 128 + 3 * 8 * 8 * 3 + 5)  # in the fourth image
    assert pack.subset([0, 5, 2]).read([0, 1, 2]).shape == (3, 8, 8, 3)
    with pytest.raises(DataError, match=f"damaged: image {table.ids[3]} has another checksum; delete this folder"):
        pack.subset([5, 3]).read([1])
    (pack.folder / "images.npy").unlink()
    with pytest.raises(DataError, match=r"is damaged: .*No such file"):
        pack.subset([0]).read([0])


def test_images_that_are_not_there_are_no_subset(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    with pytest.raises(IndexError):
        pack.subset([6])
    with pytest.raises(IndexError):
        pack.subset([4, 2]).subset([2])


# ---------------------------------------------------------------- the key


def test_second_run_decodes_nothing(table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = whole(pack_images(table, image_px=16, cache=cache))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(pack_module, "read_image", fail)
    assert np.array_equal(whole(pack_images(table, image_px=16, cache=cache)), first)
    with pytest.raises(AssertionError, match="decoded again"):
        pack_images(table, image_px=17, cache=cache)


def test_key_follows_contents_order_and_size(table: ImageTable, cache: Path) -> None:
    key = pack_images(table, image_px=16, cache=cache).key
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert pack_images(table, image_px=24, cache=cache).key != key
    swapped = table.subset([1, 0, *range(2, len(table))])
    assert pack_images(swapped, image_px=16, cache=cache).key != key
    renamed = [
        ImageRow(id=f"x{row.id}", path=row.path.rename(row.path.with_suffix(".moved.png")), label=1 - row.label)
        for row in table.rows
    ]
    moved = ImageTable(root=table.root, rows=tuple(renamed))
    assert pack_images(moved, image_px=16, cache=cache).key == key  # names and labels are no pixels
    Image.new("RGB", (3, 3)).save(renamed[2].path)
    assert pack_images(moved, image_px=16, cache=cache).key != key


# ---------------------------------------------------------------- damage


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x11
    path.write_bytes(data)


def refused(pack: ImagePack, table: ImageTable, cache: Path) -> str:
    """The message with which a damaged pack is refused, at once or when the images are read."""
    with pytest.raises(DataError) as caught:
        whole(pack_images(table, image_px=pack.image_px, cache=cache))
    message = str(caught.value)
    assert message.startswith(f"the pack {pack.folder} is damaged: ")
    assert message.endswith("; delete this folder, it is made again on the next run")
    return message


def test_every_flipped_byte_of_pack_json_and_header_is_noticed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    for name, size in (("pack.json", None), ("images.npy", 128)):
        path = pack.folder / name
        good = path.read_bytes()
        for position in range(len(good) if size is None else size):
            flip(path, position)
            with pytest.raises(DataError, match=r"is damaged: .+; delete this folder"):
                open_pack(pack.folder, table.ids)
            path.write_bytes(good)
    assert open_pack(pack.folder, table.ids) == pack


def test_every_flipped_byte_of_the_images_is_noticed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    path = pack.folder / "images.npy"
    good = path.read_bytes()
    for position in range(128, len(good), 7):
        flip(path, position)
        index = (position - 128) // (8 * 8 * 3)
        with pytest.raises(
            DataError, match=f"damaged: image {table.ids[index]} has another checksum; delete this folder"
        ):
            open_pack(pack.folder, table.ids).read([index])
        path.write_bytes(good)


@pytest.mark.parametrize("kept", [0, 5, 127, 128, 500, -1])
def test_a_cut_file_is_noticed(table: ImageTable, cache: Path, kept: int) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    path = pack.folder / "images.npy"
    path.write_bytes(path.read_bytes()[:kept])
    assert "images.npy is not 1280 bytes with the header of a pack" in refused(pack, table, cache)
    pack_json = pack.folder / "pack.json"
    pack_json.write_bytes(pack_json.read_bytes()[:kept])
    refused(pack, table, cache)


def test_a_longer_file_is_noticed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    with (pack.folder / "images.npy").open("ab") as file:
        file.write(b"\0")
    assert "images.npy is not 1280 bytes" in refused(pack, table, cache)


@pytest.mark.parametrize("name", ["images.npy", "pack.json"])
def test_a_missing_file_is_noticed(table: ImageTable, cache: Path, name: str) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    (pack.folder / name).unlink()
    assert "No such file" in refused(pack, table, cache)


def test_a_file_that_goes_away_later_is_noticed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    (pack.folder / "images.npy").unlink()
    with pytest.raises(DataError, match=r"is damaged: .*No such file.*; delete this folder"):
        pack.read([0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda about: about.update(version=2), "it is of version 2, this lentigo reads 1"),
        (lambda about: about.update(image_px=9), "pack.json does not match its checksum"),
        (lambda about: about.update(crc32=about["crc32"][:-1]), "pack.json does not match its checksum"),
        (lambda about: about.pop("sha256"), "'sha256'"),
        (lambda about: about.update(note=1), "pack.json does not match its checksum"),
    ],
)
def test_an_edited_pack_json_is_noticed(
    table: ImageTable, cache: Path, change: Callable[[dict[str, Any]], Any], found: str
) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    about = json.loads((pack.folder / "pack.json").read_text())
    change(about)
    (pack.folder / "pack.json").write_text(json.dumps(about))
    assert f"damaged: {found}; delete" in refused(pack, table, cache)


def test_a_pack_with_a_right_checksum_but_another_folder_is_noticed(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    moved = pack.folder.rename(pack.folder.with_name("0" * 64))
    with pytest.raises(DataError, match=r"is damaged: pack\.json does not match its checksum"):
        open_pack(moved, table.ids)


def test_open_pack_needs_the_right_table(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    message = f"the pack {pack.folder} holds 6 images, not 2; open it with the table it is of"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_pack(pack.folder, table.ids[:2])


def test_checksums_are_crc32(table: ImageTable, cache: Path) -> None:
    pack = pack_images(table, image_px=8, cache=cache)
    assert list(pack.crc32) == [zlib.crc32(image.tobytes()) for image in whole(pack)]


# ---------------------------------------------------------------- whole or not at all


def test_unreadable_images_are_named_and_nothing_is_left(table: ImageTable, cache: Path) -> None:
    for row in (table.rows[1], table.rows[3]):
        row.path.write_bytes(row.path.read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        pack_images(table, image_px=8, cache=cache)
    message = str(caught.value)
    assert message.startswith(f"2 of 6 images cannot be read: {table.rows[1].path} ")
    assert str(table.rows[3].path) in message
    assert message.endswith("; repair or remove these files")
    assert files_in(cache) == []


def test_of_many_unreadable_images_five_are_named(tmp_path: Path, cache: Path) -> None:
    table = image_table(tmp_path / "bad", [(4, 4)] * 9)
    for row in table.rows:
        row.path.write_text("no image")
    with pytest.raises(DataError, match=r"^9 of 9 images cannot be read: .*; and 4 more; repair or remove") as caught:
        pack_images(table, image_px=8, cache=cache)
    assert [str(row.path) in str(caught.value) for row in table.rows] == [True] * 5 + [False] * 4


def test_a_missing_image_is_named(table: ImageTable, cache: Path) -> None:
    table.rows[2].path.unlink()
    message = f"{table.rows[2].path} cannot be read ([Errno 2] No such file or directory"
    with pytest.raises(DataError, match=re.escape(message) + ".*; restore the file or remove it from the table"):
        pack_images(table, image_px=8, cache=cache)
    assert not (cache / "packs").exists()


def test_an_image_that_changes_meanwhile_is_named(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_and_read(path: Path) -> bytes:
        if path == table.rows[4].path:
            Image.new("RGB", (7, 7)).save(path)
        return file_bytes(path)

    monkeypatch.setattr(pack_module, "file_bytes", change_and_read)
    message = f"{table.rows[4].path} has changed while it was packed; start again when nothing writes to it"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        pack_images(table, image_px=8, cache=cache)
    assert files_in(cache) == []


@pytest.mark.parametrize("broken", ["fsync", "mkdir", "rename"])
def test_a_full_disk_leaves_nothing(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (cache / "packs").mkdir(parents=True)
    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, broken, full)
    message = f"the pack cannot be written to {cache / 'packs'} ([Errno 28] No space left on device)"
    with pytest.raises(DataError, match="^" + re.escape(message) + "; free space, or set LENTIGO_CACHE or --cache$"):
        pack_images(table, image_px=8, cache=cache)
    monkeypatch.undo()
    assert files_in(cache) == []
    assert len(pack_images(table, image_px=8, cache=cache)) == len(table)


def test_a_file_size_limit_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    """A real failure of the operating system's write, in a process of its own."""
    image_table(tmp_path / "data", [(4, 4)] * 4)
    code = f"""
import resource, signal
from pathlib import Path
from lentigo.data.pack import pack_images
from lentigo.data.table import read_table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
pack_images(read_table(Path({str(tmp_path / "data")!r})), image_px=128, cache=Path({str(cache)!r}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "DataError: the pack cannot be written to" in result.stderr
    assert "File too large" in result.stderr
    assert files_in(cache) == []


def test_ctrl_c_leaves_nothing(table: ImageTable, cache: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_images(table, image_px=8, cache=cache, progress=interrupt)
    assert files_in(cache) == []


def test_what_a_kill_left_is_swept_away_and_what_is_being_written_is_not(table: ImageTable, cache: Path) -> None:
    """An interrupted pack is gigabytes that nothing would read; another process may be writing its own."""
    old, young, written = (cache / "packs" / f".{name}.part" for name in ("old", "young", "written"))
    for leftover in (old, young, written):
        leftover.mkdir(parents=True)
        (leftover / "images.npy").write_bytes(b"half")
    hours_ago = time.time() - 2 * 3600
    for path in (old / "images.npy", old, young / "images.npy", written):  # `written` still grows, `young` has begun
        os.utime(path, (hours_ago, hours_ago))
    (cache / "packs" / ".note").write_text("not a pack")
    pack = pack_images(table, image_px=8, cache=cache)
    assert sorted(path.name for path in (cache / "packs").iterdir()) == sorted(
        [".note", ".young.part", ".written.part", pack.key]
    )


def test_others_may_read_the_pack(table: ImageTable, cache: Path) -> None:
    """A cache may be shared: folder and files have the modes of any new ones."""
    folder = pack_images(table, image_px=8, cache=cache).folder
    (cache / "plain").mkdir()
    (cache / "plain" / "file").touch()
    assert folder.stat().st_mode == (cache / "plain").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {(cache / "plain" / "file").stat().st_mode}


def test_concurrent_writers_agree(table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three find no pack, wait for each other, and all write it."""
    barrier = threading.Barrier(3)
    write = pack_module._write

    def write_together(*args: Any, **more: Any) -> None:
        barrier.wait(timeout=30)
        write(*args, **more)

    monkeypatch.setattr(pack_module, "_write", write_together)
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(whole(pack_images(table, image_px=8, cache=cache))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == 3
    assert all(np.array_equal(result, results[0]) for result in results)
    key = pack_images(table, image_px=8, cache=cache).key
    assert files_in(cache) == [key, f"{key}/images.npy", f"{key}/pack.json"]


# ---------------------------------------------------------------- the readable ones


def cut(table: ImageTable, *rows: int) -> None:
    for row in rows:
        path = table.rows[row].path
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    paths: list[Path] = []

    def read_and_tell(data: bytes, *, name: str) -> np.ndarray:
        paths.append(Path(name))
        return read_image(data, name=name)

    monkeypatch.setattr(pack_module, "read_image", read_and_tell)
    return paths


def test_without_broken_files_it_is_the_pack(table: ImageTable, cache: Path) -> None:
    found = pack_readable(table, image_px=16, cache=cache)
    assert (found.pack, found.table, found.failures) == (pack_images(table, image_px=16, cache=cache), table, {})
    assert pack_readable(table, image_px=16, cache=cache) == found
    assert files_in(cache) == [found.pack.key, f"{found.pack.key}/images.npy", f"{found.pack.key}/pack.json"]


def test_broken_files_are_left_out_and_named(table: ImageTable, cache: Path) -> None:
    cut(table, 1, 4)
    found = pack_readable(table, image_px=16, cache=cache)
    assert found.table == table.subset([0, 2, 3, 5])
    assert list(found.pack.ids) == found.table.ids
    assert list(found.failures) == [table.ids[1], table.ids[4]]
    for row in (1, 4):
        path = table.rows[row].path
        assert found.failures[table.ids[row]].startswith(f"{path} is a PNG file whose pixels cannot be decoded (")
    for index, row in enumerate(found.table.rows):
        squeezed = Image.fromarray(read_image(row.path)).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(found.pack.read([index])[0], np.asarray(squeezed))


def test_the_folder_is_byte_by_byte_the_one_of_the_clean_table(table: ImageTable, tmp_path: Path) -> None:
    cut(table, 0, 3)
    found = pack_readable(table, image_px=16, cache=tmp_path / "one")
    clean = pack_images(found.table, image_px=16, cache=tmp_path / "other")
    assert clean.key == found.pack.key
    for name in ("images.npy", "pack.json"):
        assert (clean.folder / name).read_bytes() == (found.pack.folder / name).read_bytes()


def test_training_on_the_clean_table_decodes_nothing(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(table, 0, 3)
    found = pack_readable(table, image_px=16, cache=cache)
    paths = decoded(monkeypatch)
    assert pack_images(found.table, image_px=16, cache=cache) == found.pack
    assert paths == []


def test_a_second_call_decodes_the_broken_files_only(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(table, 2, 3)
    paths, done = decoded(monkeypatch), list[int]()
    first = pack_readable(table, image_px=16, cache=cache, progress=done.append)
    assert sorted(paths) == sorted(row.path for row in table.rows)
    paths.clear()
    assert pack_readable(table, image_px=16, cache=cache, progress=done.append) == first
    assert paths == [table.rows[2].path, table.rows[3].path]
    assert done == [6, 6]


def test_a_pack_of_the_clean_table_is_found_again(table: ImageTable, cache: Path) -> None:
    clean = pack_images(table.subset([0, 1, 2, 4]), image_px=16, cache=cache)
    inode = (clean.folder / "images.npy").stat().st_ino
    cut(table, 3, 5)
    assert pack_readable(table, image_px=16, cache=cache).pack == clean
    assert (clean.folder / "images.npy").stat().st_ino == inode
    assert files_in(cache) == [clean.key, f"{clean.key}/images.npy", f"{clean.key}/pack.json"]


def test_a_broken_file_that_is_mended_comes_back(table: ImageTable, cache: Path) -> None:
    whole_file = table.rows[2].path.read_bytes()
    cut(table, 2)
    assert len(pack_readable(table, image_px=16, cache=cache).pack) == 5
    table.rows[2].path.write_bytes(whole_file)
    found = pack_readable(table, image_px=16, cache=cache)
    assert (len(found.pack), found.failures) == (6, {})


def test_a_note_of_what_is_not_broken_is_not_believed(table: ImageTable, cache: Path) -> None:
    """A later lentigo may read what an earlier one could not."""
    (cache / "broken").mkdir(parents=True)
    for row in table.rows:
        (cache / "broken" / hashlib.sha256(row.path.read_bytes()).hexdigest()).touch()
    assert len(pack_readable(table, image_px=16, cache=cache).pack) == 6


def test_without_notes_all_is_decoded_again(table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(table, 2)
    cache.mkdir()
    (cache / "broken").touch()  # a file: nothing can be noted in it
    first = pack_readable(table, image_px=16, cache=cache)
    paths = decoded(monkeypatch)
    assert pack_readable(table, image_px=16, cache=cache) == first
    assert len(paths) == 6


@pytest.mark.parametrize("again", [False, True])
def test_nothing_but_broken_files_is_refused(table: ImageTable, cache: Path, again: bool) -> None:
    kept = table.subset([0, 1, 2, 3, 4])
    cut(table, 0, 1, 2, 3, 4)
    if again:  # with all of them noted, and a pack of nothing beside
        pack_readable(table, image_px=8, cache=cache)
        pack_images(table.subset([]), image_px=8, cache=cache)
    before = files_in(cache)
    with pytest.raises(DataError) as caught:
        pack_readable(kept, image_px=8, cache=cache)
    assert str(caught.value).startswith(f"5 of 5 images cannot be read: {kept.rows[0].path} is a PNG file whose")
    assert str(caught.value).endswith("; repair or remove these files")
    assert files_in(cache) == before


def test_one_class_may_be_left(table: ImageTable, cache: Path) -> None:
    cut(table, *(index for index, row in enumerate(table.rows) if row.label))
    assert set(pack_readable(table, image_px=8, cache=cache).table.labels) == {0}


def test_a_file_that_is_gone_or_locked_is_a_failure(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_or_refuse(path: Path) -> str:  # a test may run as root, whom no mode stops
        if path == table.rows[4].path:
            raise PermissionError(13, "Permission denied")
        return sha256_of(path)

    table.rows[1].path.unlink()
    monkeypatch.setattr(pack_module, "sha256_of", hash_or_refuse)
    found = pack_readable(table, image_px=8, cache=cache)
    assert found.table == table.subset([0, 2, 3, 5])
    gone, locked = found.failures[table.ids[1]], found.failures[table.ids[4]]
    assert gone.startswith(f"{table.rows[1].path} cannot be read ([Errno 2] No such file or directory")
    assert locked == (
        f"{table.rows[4].path} cannot be read ([Errno 13] Permission denied); "
        "restore the file or remove it from the table"
    )


def test_a_file_that_goes_away_meanwhile_is_a_failure(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_and_read(path: Path) -> bytes:
        if path == table.rows[4].path:
            path.unlink()
        return file_bytes(path)

    monkeypatch.setattr(pack_module, "file_bytes", lose_and_read)
    found = pack_readable(table, image_px=8, cache=cache)
    assert list(found.failures) == [table.ids[4]]
    assert (found.table, len(found.pack)) == (table.subset([0, 1, 2, 3, 5]), 5)


def test_a_file_that_changes_meanwhile_is_refused(
    table: ImageTable, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_and_read(path: Path) -> bytes:
        Image.new("RGB", (7, 7)).save(path)
        return file_bytes(path)

    monkeypatch.setattr(pack_module, "file_bytes", change_and_read)
    with pytest.raises(DataError, match="has changed while it was packed; start again when nothing writes to it"):
        pack_readable(table, image_px=8, cache=cache)
    assert files_in(cache) == []


def test_a_damaged_pack_is_refused_here_too(table: ImageTable, cache: Path) -> None:
    cut(table, 2)
    flip(pack_readable(table, image_px=8, cache=cache).pack.folder / "pack.json", 30)
    with pytest.raises(DataError, match=r"is damaged: .+; delete this folder"):
        pack_readable(table, image_px=8, cache=cache)


def test_the_corpus_of_bad_files_between_good_ones(tmp_path: Path, cache: Path) -> None:
    good, bad = good_files(), bad_files()
    rows = []
    for number, file in enumerate(sorted([*good, *bad], key=lambda file: zlib.crc32(file.name.encode()))):
        path = tmp_path / f"{number:03}.jpg"
        path.write_bytes(file.data)
        rows.append((ImageRow(id=path.name, path=path, label=0), file))
    table = ImageTable(root=tmp_path, rows=tuple(row for row, _ in rows))
    found = pack_readable(table, image_px=24, cache=cache)
    assert found.table.ids == [row.id for row, file in rows if isinstance(file, Good)]
    assert list(found.failures) == [row.id for row, file in rows if isinstance(file, Bad)]
    for row, file in rows:
        if isinstance(file, Bad):
            assert re.search(file.message, found.failures[row.id]), file.name
    assert pack_images(found.table, image_px=24, cache=tmp_path / "other").key == found.pack.key


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(broken=st.lists(st.booleans(), min_size=1, max_size=8), twice=st.booleans())
def test_any_pattern_of_broken_files(tmp_path_factory: pytest.TempPathFactory, broken: list[bool], twice: bool) -> None:
    """Some or all of the files, some with the same contents: the clean ones are packed, or all are refused."""
    root = tmp_path_factory.mktemp("pattern")
    rows = []
    for number, bad in enumerate(broken):
        path = root / f"{number}.png"
        Image.new("RGB", (4, 4), (number // 2 * 20, 9, 9)).save(path)
        path.write_bytes(path.read_bytes()[: 50 if bad else None])
        rows.append(ImageRow(id=path.name, path=path, label=0))
    table = ImageTable(root=root, rows=tuple(rows))
    for _ in range(1 + twice):
        if all(broken):
            with pytest.raises(DataError, match=rf"^{len(broken)} of {len(broken)} images cannot be read: "):
                pack_readable(table, image_px=4, cache=root / "cache")
            continue
        found = pack_readable(table, image_px=4, cache=root / "cache")
        assert list(found.failures) == [row.id for row, bad in zip(rows, broken, strict=True) if bad]
        left = [number for number, bad in enumerate(broken) if not bad]
        assert whole(found.pack)[:, 0, 0, 0].tolist() == [number // 2 * 20 for number in left]
        assert pack_images(table.subset(left), image_px=4, cache=root / "cache").folder == found.pack.folder


# ---------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_images(tmp_path: Path, cache: Path) -> None:
    """Peak resident memory of a process that packs 100 and one that packs 400 images, 15 and 59 MB packed."""
    table = image_table(tmp_path / "data", [(8, 8)] * 400, suffix=".bmp")
    assert len(table) == 400
    code = f"""
import resource
from pathlib import Path
from lentigo.data.pack import pack_images
from lentigo.data.table import read_table
table = read_table(Path({str(tmp_path / "data")!r}))
for count in (100, 400):
    pack = pack_images(table.subset(range(count)), image_px=224, cache=Path({str(cache)!r}))
    pack.read(range(32))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    few, many = (int(line) * unit for line in result.stdout.split())
    assert many - few < 8_000_000
