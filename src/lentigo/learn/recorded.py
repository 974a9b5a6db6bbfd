"""A step of training recorded once as a CUDA graph and then played back.

A step launches some hundred kernels of a few microseconds each; played back, they cost the processor one call. The
numbers are those of the same kernels called one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_BEFORE = 3  # steps called one by one first: libraries set themselves up, and the optimizer makes its state

StepFunction = Callable[[Float[Tensor, "image ..."], Float[Tensor, "image ..."]], Float[Tensor, ""]]


class RecordedStep:
    """Calls `step(images, targets) -> loss` the first times, then records one call, and from then on plays it back.

    Args:
        step: always the same work, with no waiting and no choice of the processor's inside; it makes its gradients
            anew. Batches of another size than `count` are given to it each time.
        count: images of a whole batch.
    """

    def __init__(self, step: StepFunction, *, count: int) -> None:
        self.step, self.count = step, count
        self.calls = 0
        self.recording: _Recording | None = None
        self.refused = ""  # why no step can be recorded

    def __call__(self, images: Float[Tensor, "image ..."], targets: Float[Tensor, "image ..."]) -> Float[Tensor, ""]:
        """The loss, a new tensor on the device; nothing waits for it."""
        if len(images) != self.count:
            return self.step(images, targets)
        self.calls += 1
        if self.calls <= _BEFORE:
            return self._aside(images, targets)
        if self.recording is None and not self.refused:
            try:
                self.recording = _record(self.step, images, targets)
            except RuntimeError as error:  # a layer that waits for the device; nothing of the step was done
                self.refused = str(error)
        return self.step(images, targets) if self.recording is None else self.recording.play(images, targets)

    def _aside(self, images: Tensor, targets: Tensor) -> Tensor:
        """In another stream, as a later recording needs it."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(images, targets)
        torch.cuda.current_stream().wait_stream(stream)
        return loss


@dataclass(frozen=True)
class _Recording:
    """A graph, and where it reads and writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    targets: Tensor
    loss: Tensor

    def play(self, images: Tensor, targets: Tensor) -> Tensor:
        self.images.copy_(images)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss.clone()


def _record(step: StepFunction, images: Tensor, targets: Tensor) -> _Recording:
    images, targets, graph = images.clone(), targets.clone(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(images, targets)
    return _Recording(graph, images, targets, loss)
