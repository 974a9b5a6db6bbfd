"""Shares of images: each in one share and back in its place, with the same bits; by real processes over gloo too."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lentigo.learn import shards
from lentigo.learn.processes import LostProcessError
from lentigo.learn.shards import all_have, gather, largest, missing_none, rounds, same_in_all, shard

TOTALS = (0, 1, 2, 3, 4, 7, 64)
DTYPES = ("bool", "uint8", "float32", "float64", "int64")


def whole(total: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """What all processes must have in the end; floats of random bits, NaN among them."""
    rng = np.random.default_rng(total)
    if dtype == "bool":
        return rng.random((total, *shape)) < 0.5
    bits = rng.integers(0, 256, (total, *shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    return bits.view(dtype)[..., 0]


def work_together() -> None:
    """One of the processes of the test below; an error ends it."""
    with shards.together():
        mine = shards.rank()
        for total in TOTALS:
            for dtype in DTYPES:
                for shape in ((), (2,), (3, 5)):
                    wanted = whole(total, dtype, shape)
                    rows = wanted[np.array(list(shard(range(total))), dtype=int)]
                    if not len(rows):  # the size of a map is not known without an image
                        rows = np.empty((0, *[0] * len(shape)), dtype=dtype)
                    found = gather(rows, total)
                    assert found.dtype == wanted.dtype
                    assert total == 0 or found.shape == wanted.shape
                    assert found.tobytes() == wanted.tobytes()
        assert largest(float(mine)) == shards.count() - 1
        assert not all_have(mine == 1)
        assert all_have(True)
        assert same_in_all("the same split")
        assert not same_in_all(f"the split of process {mine}")
        if mine == 1:
            os._exit(9)
        with pytest.raises(LostProcessError, match="one of the 3 processes has ended, so the others stop; begin again"):
            wait_for_ever()


@missing_none("begin again")
def wait_for_ever() -> None:
    while True:
        largest(0.0)


@settings(deadline=None, max_examples=200)
@given(total=st.integers(0, 100), size=st.integers(1, 40), processes=st.integers(1, 9))
def test_every_image_is_in_one_share(total: int, size: int, processes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards, "count", lambda: processes)
        shares = []
        for number in range(processes):
            patched.setattr(shards, "rank", lambda number=number: number)
            shares.append([int(image) for piece in rounds(total, size) for image in shard(piece)])
            assert all(len(shard(piece)) <= size for piece in rounds(total, size))
            # Full pieces stand first, so that a source of batches of `size` comes out even with the rounds.
            assert all(len(shard(piece)) == size for piece in rounds(total, size)[:-1])
    assert sorted(image for share in shares for image in share) == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= size
    assert [image for piece in rounds(total, size) for image in piece] == list(range(total))


def test_one_process_has_all() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    assert gather(rows, 3) is rows
    assert list(shard(range(4))) == [0, 1, 2, 3]
    assert (shards.rank(), shards.count(), largest(2.5)) == (0, 1, 2.5)
    assert all_have(True)
    assert not all_have(False)
    assert same_in_all("anything")
    with shards.together(), shards.first_here_first():
        assert shards.count() == 1


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), missing_none():
        raise RuntimeError("CUDA out of memory")


def test_three_processes_gather_the_same_bits_and_notice_a_death() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3",
        "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    program = """
from lentigo.cli.ending import without_teardown
from tests.learn.test_shards import work_together
with without_teardown():
    work_together()
"""
    command = [sys.executable, "-c", program]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0, 9, 0], "\n".join(text for text, _ in ends)
