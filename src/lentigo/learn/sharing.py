"""How a command's processes share images: all to one process here, by torch among several in `learn.shards`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped


@dataclass(frozen=True)
class Sharing:
    """The share of one process that works alone, which is everything."""

    rank: int = 0  # of this process; 0 is the one that writes
    count: int = 1  # of processes

    def shard(self, indices: Sequence[int] | np.ndarray) -> Sequence[int] | np.ndarray:
        """This process's share of images: every image is in one share, and shares differ by one image at most."""
        return indices[self.rank :: self.count]

    def gather(self, rows: Shaped[np.ndarray, "share ..."], total: int) -> Shaped[np.ndarray, "image ..."]:
        """The rows of all `total` images, in order, from every process's rows of its share."""
        return rows[:total]

    def all_have(self, here: bool) -> bool:
        """Whether it is so in every process."""
        return here
