"""The methods of explaining by name, and many images explained by one of them, a batch at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from lentigo.errors import ConfigError
from lentigo.explain import cam, perturbation
from lentigo.explain.layer import Target
from lentigo.explain.maps import HeatMaps, in_memory
from lentigo.explain.quick import quick_copy
from lentigo.models.contract import LesionClassifier


@runtime_checkable
class Explain(Protocol):
    """Network and images to heat maps; see `cam.grad_cam` for layer and target."""

    def __call__(
        self,
        model: nn.Module,
        images: Float[Tensor, "batch colour height width"],
        *,
        layer: str | None = None,
        target: Target | None = None,
    ) -> HeatMaps[Tensor]:
        """Heat maps of the images."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to explain a network, with its published source."""

    title: str
    source: str
    unit: str  # of its maps
    explain: Explain


def _occlusion(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
) -> HeatMaps[Tensor]:
    if layer is not None:
        raise ConfigError(f"occlusion covers pixels and explains no layer, but layer is {layer!r}; leave it out")
    return perturbation.occlusion(model, images, target=target)


METHODS: Mapping[str, Method] = {
    "grad_cam": Method(
        title="Grad-CAM",
        source="Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74",
        unit="logit",
        explain=cam.grad_cam,
    ),
    "grad_cam_plus_plus": Method(
        title="Grad-CAM++",
        source="Chattopadhay et al. 2018, doi:10.1109/WACV.2018.00097",
        unit="logit",
        explain=cam.grad_cam_plus_plus,
    ),
    "hires_cam": Method(
        title="HiResCAM",
        source="Draelos & Carin 2020, arXiv:2011.08891",
        unit="logit",
        explain=cam.hires_cam,
    ),
    "layer_cam": Method(
        title="LayerCAM",
        source="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        unit="logit",
        explain=cam.layer_cam,
    ),
    "score_cam": Method(
        title="Score-CAM",
        source="Wang et al. 2020, doi:10.1109/CVPRW50498.2020.00020",
        unit="activation",
        explain=perturbation.score_cam,
    ),
    "ablation_cam": Method(
        title="Ablation-CAM",
        source="Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360",
        unit="logit x activation",
        explain=perturbation.ablation_cam,
    ),
    "occlusion": Method(
        title="Occlusion",
        source="Zeiler & Fergus 2014, doi:10.1007/978-3-319-10590-1_53",
        unit="logit",
        explain=_occlusion,
    ),
}


def method_named(name: str) -> Method:
    """The method of that name.

    Raises: ConfigError: there is none; the known names are listed.
    """
    if name not in METHODS:
        raise ConfigError(f"method is {name!r}; known are {', '.join(METHODS)}")
    return METHODS[name]


def explain_images(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    method: str = "grad_cam",
    layer: str | None = None,
    target: Target | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[HeatMaps[np.ndarray]]:
    """Heat maps of many batches of network inputs, in their order, as arrays; one batch is held at a time.

    `maps.joined` makes one piece of them, where all fit into memory. On a processor the features are computed by
    `quick.quick_copy`, made of the network as it is when the first batch is asked for.

    Args:
        method: a name in METHODS.
        layer, target: as `cam.grad_cam`.
        on_progress: told the number of images of every batch that is done.
    Raises:
        ConfigError: an unknown method, at once; else as the method.
        RunError: a map or logit is not finite.
    """
    explain = method_named(method).explain

    def pieces() -> Iterator[HeatMaps[np.ndarray]]:
        network = model
        if isinstance(model, LesionClassifier) and layer in (None, model.cam_layer):
            network = quick_copy(model)  # whose inner layers are not those of the network
        for images in batches:
            piece = in_memory(explain(network, images, layer=layer, target=target))
            if on_progress:
                on_progress(len(images))
            yield piece

    return pieces()
