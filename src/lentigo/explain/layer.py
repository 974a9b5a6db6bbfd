"""A layer of a network to be explained: images in; its activations, their gradient and the scores they lead to out.

The network is left as it was, also after an exception: the modes of its modules, its gradients, buffers and hooks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from lentigo.errors import ConfigError
from lentigo.models.contract import LesionClassifier, evaluating, split_at_cam

# A network's output -> one score an image. None: the output is one logit an image.
Target: TypeAlias = Callable[[Any], Tensor]

_NAMES_SHOWN = 12
_MAP_LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
_NO_MAP_LAYERS = (nn.Flatten, nn.Linear)


class Layer(ABC):
    """One layer of one network, and the score by which its decisions are explained. Made by `layer_of`."""

    def __init__(self, model: nn.Module, name: str, target: Target | None) -> None:
        self.name = name
        self._model = model
        self._target = target

    def activations(
        self, images: Float[Tensor, "batch colour height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """The layer's output, without a graph.

        Raises: ConfigError: it is no map, or the layer does not run exactly once.
        """
        kept: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            kept.append(output.clone())  # the next layer may work in place
            return output

        with torch.no_grad():
            self._run(images, keep)
        return kept[0]

    def scores(
        self,
        images: Float[Tensor, "batch colour height width"],
        activations: Float[Tensor, "batch channel rows columns"],
    ) -> Float[Tensor, " batch"]:
        """The score of every image, were `activations` the layer's output; differentiable in them.

        Raises: ConfigError: as `activations`; or the network's output is no score.
        """
        return self._run(images, lambda _: activations.clone())  # a copy: the next layer may work in place

    def gradients(
        self, images: Float[Tensor, "batch colour height width"]
    ) -> tuple[
        Float32[Tensor, "batch channel rows columns"],
        Float32[Tensor, "batch channel rows columns"],
        Float32[Tensor, " batch"],
    ]:
        """Activations, the gradient of the score with respect to them, and the scores; all from one forward pass.

        Only what follows the layer is differentiated, and only with respect to the activations: no graph is kept of
        what comes before, and no parameter's gradient is computed. It works under no_grad and inference_mode too.

        Raises: ConfigError: as `scores`; or the score does not depend on the layer.
        """
        leaves: list[Tensor] = []

        def start_graph(output: Tensor) -> Tensor:
            leaves.append(output.detach().requires_grad_())
            return leaves[0].clone()

        with torch.inference_mode(False), torch.enable_grad():
            scores = self._run(images.clone() if images.is_inference() else images, start_graph)
            # Images do not mix, so the gradient of the sum keeps them apart.
            gradients = (
                torch.autograd.grad(scores.sum(), leaves, allow_unused=True) if scores.requires_grad else (None,)
            )
        if gradients[0] is None:
            raise ConfigError(
                f"the score of {type(self._model).__name__} has no gradient with respect to layer {self.name}; name a "
                "layer on the way from the image to the score, or take a method without gradients: ablation_cam"
            )
        return leaves[0].detach().float(), gradients[0].float(), scores.detach().float()

    @abstractmethod
    def _run(self, images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The scores where change(output) stands for the layer's output; no graph up to there."""


def layer_of(model: nn.Module, name: str | None = None, *, target: Target | None = None) -> Layer:
    """The layer of a network by its name in `model.named_modules()`.

    Args:
        name: None: the features of a LesionClassifier.
        target: which score is explained, from the network's output; None: the output is one logit an image.
    Raises: ConfigError: there is no such layer, or none is named and the network is no LesionClassifier.
    """
    if isinstance(model, LesionClassifier) and name in (None, model.cam_layer):
        return _Halves(model, model.cam_layer, target)
    if name is None:
        raise ConfigError(
            f"{type(model).__name__} is not a LesionClassifier, so the layer to explain is not known; name one: "
            f"{_known_layers(model)}"
        )
    if name not in dict(model.named_modules()):
        raise ConfigError(
            f"{type(model).__name__} has no layer {name!r}; layers that give maps: {_known_layers(model)}"
        )
    return _Inner(model, name, target)


def score_images(
    model: nn.Module, images: Float[Tensor, "batch colour height width"], *, target: Target | None = None
) -> Float32[Tensor, " batch"]:
    """The score of every image, without a graph and without dropout.

    Raises: ConfigError: the network's output is no score.
    """
    with evaluating(model), torch.no_grad():
        return _scores(model, model(images), target, len(images)).float()


class _Halves(Layer):
    """The features of a LesionClassifier: no hook is needed, and what comes before is left out where it is known."""

    def activations(
        self, images: Float[Tensor, "batch colour height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        with evaluating(self._model), torch.no_grad():
            return _spatial(self._halves()[0](images), self._model, self.name)

    def scores(
        self,
        images: Float[Tensor, "batch colour height width"],
        activations: Float[Tensor, "batch channel rows columns"],
    ) -> Float[Tensor, " batch"]:
        with evaluating(self._model):
            outputs = self._halves()[1](activations.clone())[:, 0]
            return _scores(self._model, outputs, self._target, len(images))

    def _run(self, images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        return self.scores(images, change(self.activations(images)))

    def _halves(self) -> tuple[nn.Module, nn.Module]:
        assert isinstance(self._model, LesionClassifier)
        return split_at_cam(self._model)


class _Inner(Layer):
    """Any other layer: a hook for the time of one forward pass."""

    def _run(self, images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        runs, graph = 0, torch.is_grad_enabled()

        def replace(_: nn.Module, __: Any, output: Any) -> Tensor:
            nonlocal runs
            runs += 1
            output = _spatial(output, self._model, self.name)
            torch.set_grad_enabled(graph)  # a graph from here on; no_grad's end sets the mode back
            return change(output)

        hook = self._model.get_submodule(self.name).register_forward_hook(replace)
        try:
            with evaluating(self._model), torch.no_grad():
                scores = _scores(self._model, self._model(images), self._target, len(images))
        finally:
            hook.remove()
        if runs != 1:
            raise ConfigError(
                f"layer {self.name} of {type(self._model).__name__} runs {runs} times in a forward pass, so it is not "
                f"clear which output to explain; name one that runs once: {_known_layers(self._model)}"
            )
        return scores


def _spatial(output: Any, model: nn.Module, name: str) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 4:
        return output
    found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
    raise ConfigError(
        f"the output of layer {name} of {type(model).__name__} has {found}, not (batch, channels, rows, columns), so "
        f"there is no map to explain; layers that give maps: {_known_layers(model)}"
    )


def _scores(model: nn.Module, outputs: Any, target: Target | None, count: int) -> Tensor:
    if target is not None:
        outputs = target(outputs)
    elif isinstance(outputs, Tensor) and outputs.shape[1:] == (1,):
        outputs = outputs[:, 0]
    if isinstance(outputs, Tensor) and outputs.shape == (count,):
        return outputs
    found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"type {type(outputs).__name__}"
    what = f"the output of {type(model).__name__}" if target is None else "the target's result"
    raise ConfigError(
        f"{what} has {found}, not one score for each of {count} images; give a target that makes one of the output, "
        "such as lambda output: output[:, 1] - output[:, 0]"
    )


def _known_layers(model: nn.Module) -> str:
    """Names of layers that give maps, as far as their kinds tell: those nearest to the network itself first."""
    names = [name for name, module in model.named_modules() if name and _gives_maps(module)]
    names.sort(key=lambda name: name.count("."))
    more = len(names) - _NAMES_SHOWN
    return (", ".join(names[:_NAMES_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")


def _gives_maps(module: nn.Module) -> bool:
    kinds = list(module.modules())
    return any(isinstance(kind, _MAP_LAYERS) for kind in kinds) and not any(
        isinstance(kind, _NO_MAP_LAYERS) for kind in kinds
    )
