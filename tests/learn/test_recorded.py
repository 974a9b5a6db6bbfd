"""A recorded step: called as it is first, then recorded once, then played back; other sizes go past the recording.

What a GPU records is not tested here: the recording itself is replaced by one that calls the step.
"""

import pytest
import torch
from torch import Tensor

from lentigo.learn import recorded
from lentigo.learn.recorded import RecordedStep


class Played:
    """Stands for a CUDA graph: remembers how often it was played."""

    def __init__(self) -> None:
        self.made = self.plays = 0

    def make(self, step: object, images: Tensor, targets: Tensor) -> "Played":
        self.made += 1
        return self

    def play(self, images: Tensor, targets: Tensor) -> Tensor:
        self.plays += 1
        return (images * targets[:, None]).sum()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    found = Played()
    monkeypatch.setattr(recorded, "_record", found.make)
    monkeypatch.setattr(RecordedStep, "_aside", lambda self, images, targets: self.step(images, targets))
    return found


def test_calls_then_records_then_plays(played: Played) -> None:
    calls: list[int] = []

    def step(images: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(images))
        return (images * targets[:, None]).sum()

    found = RecordedStep(step, count=4)
    losses = [float(found(torch.full((4, 2), float(k)), torch.ones(4))) for k in range(6)]
    assert losses == [0, 8, 16, 24, 32, 40]
    assert (calls, played.made, played.plays) == ([4, 4, 4], 1, 3)
    assert float(found(torch.ones(1, 2), torch.ones(1))) == 2  # the last batch of an epoch
    assert (calls, played.made, played.plays) == ([4, 4, 4, 1], 1, 3)


def test_a_small_batch_first_does_not_count(played: Played) -> None:
    """A resumed epoch may begin with its last, smaller batch."""
    found = RecordedStep(lambda images, targets: images.sum(), count=4)
    for _ in range(9):
        found(torch.ones(2, 2), torch.ones(2))
    assert (found.calls, played.made) == (0, 0)
