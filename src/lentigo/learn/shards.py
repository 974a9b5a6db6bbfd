"""Work on images shared among the processes of a command: each takes every n-th, and all get the whole back in order.

Without a group of processes each function does what one process needs: a share is all, and gathering changes nothing.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, distributed, nn

from lentigo.learn.processes import LostProcessError, launched, place
from lentigo.learn.sharing import Sharing

_PATIENCE = timedelta(hours=12)  # one decodes ten thousand photographs while the others wait; a death is seen at once
# What gloo says in a plain RuntimeError; the store and NCCL have errors of their own.
_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused", "Timed out waiting", "timeout")


def rank() -> int:
    """This process's number among those that work together; 0 is the one that writes."""
    return int(distributed.get_rank()) if _together() else 0


def count() -> int:
    """How many processes work together."""
    return int(distributed.get_world_size()) if _together() else 1


def shard(indices: Sequence[int] | np.ndarray) -> Sequence[int] | np.ndarray:
    """This process's share of images: every image is in one share, and shares differ by one image at most."""
    return indices[rank() :: count()]


def gather(rows: Shaped[np.ndarray, "share ..."], total: int) -> Shaped[np.ndarray, "image ..."]:
    """The rows of all images, in order, from every process's rows of its share; the same bits as they were.

    Args:
        rows: of the images of `shard`, in that order. Where a share is empty the other axes may have any length.
        total: how many images all shares hold.
    """
    if count() == 1:
        return rows
    rest = np.array(rows.shape[1:] if len(rows) else [0] * (rows.ndim - 1), dtype=np.int64)
    shape = tuple(int(side) for side in _largest(rest))
    most = -(-total // count())
    padded = np.zeros((most, *shape), dtype=rows.dtype)
    if len(rows):
        padded[: len(rows)] = rows
    here = torch.from_numpy(padded.reshape(-1).view(np.uint8)).to(_device())
    parts = [torch.empty_like(here) for _ in range(count())]
    distributed.all_gather(parts, here)
    whole = np.empty((total, *shape), dtype=rows.dtype)
    for number, part in enumerate(parts):
        share = whole[number :: count()]
        share[...] = part.cpu().numpy().view(rows.dtype).reshape(padded.shape)[: len(share)]
    return whole


def rounds(total: int, size: int) -> list[range]:
    """Images 0 to `total` in pieces of `size` a process, to be gathered one after the other where memory is short."""
    return [range(start, min(start + size * count(), total)) for start in range(0, total, size * count())]


def all_have(here: bool) -> bool:
    """Whether it is so in every process."""
    return not bool(_largest(np.array([not here], dtype=np.int64))[0])


def largest(here: float) -> float:
    """The largest of the processes' numbers."""
    return float(_largest(np.array([here], dtype=np.float64))[0])


def same_in_all(text: str) -> bool:
    """Whether all processes gave the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    most, least = _largest(np.array([number, -number], dtype=np.int64)).tolist()
    return bool(most == -least)


def same_buffers(model: nn.Module) -> None:
    """Give the model of every process the first one's buffers, such as means over the batches that it saw itself."""
    if count() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def told_of_all(on_progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """For a share: what takes the number of images done, of all processes, which are about as far as this one."""
    if on_progress is None:
        return None
    tell, processes = on_progress, count()
    return lambda done: tell(done * processes)


class _Shared(Sharing):
    """Among the processes that are together."""

    def gather(self, rows: Shaped[np.ndarray, "share ..."], total: int) -> Shaped[np.ndarray, "image ..."]:
        return gather(rows, total)

    def all_have(self, here: bool) -> bool:
        return all_have(here)


def sharing() -> Sharing:
    """This process's share, for what must not know torch."""
    return _Shared(rank(), count()) if _together() else Sharing()


def device_here(device: torch.device) -> torch.device:
    """Of several GPUs the one that is this process's."""
    if device.type != "cuda" or not launched():
        return device
    own = torch.device("cuda", place().local_rank % torch.cuda.device_count())
    torch.cuda.set_device(own)
    return own


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Join the processes that a launcher started with this one; does nothing in a process of its own.

    Raises: LostProcessError: another one has ended.
    """
    if not launched():
        yield
        return
    with missing_none():
        # gloo on GPUs too: only results go from one to the other, and two processes may share a GPU.
        distributed.init_process_group("gloo", timeout=_PATIENCE)
        yield
    distributed.destroy_process_group()


@contextlib.contextmanager
def missing_none(what: str = "give the same command again") -> Iterator[None]:
    """Turn what torch says of a broken connection into one sentence; `what` says how to go on.

    Raises: LostProcessError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, distributed.DistError) or any(word in str(error) for word in _LOST)
        if not (launched() and lost):
            raise
        raise LostProcessError(
            f"one of the {place().processes} processes has ended, so the others stop; {what}"
        ) from error


@contextlib.contextmanager
def first_here_first() -> Iterator[None]:
    """Let the first process of each machine do it before the others, which find what it left on the disk."""
    ahead = not _together() or place().local_rank == 0
    if not ahead:
        distributed.barrier()
    yield
    if ahead and _together():
        distributed.barrier()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _largest(numbers: np.ndarray) -> np.ndarray:
    if count() == 1 or not numbers.size:
        return numbers
    found: Tensor = torch.from_numpy(numbers.copy()).to(_device())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return np.asarray(found.cpu().numpy())


def _device() -> torch.device:
    """Where the group wants its tensors."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
