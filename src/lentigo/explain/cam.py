"""Heat maps from gradients: images in, one coarse map an image and decision out, unstretched.

The features are computed once; only what follows the layer is differentiated (`layer.Layer.gradients`). Dropout is off.
The network is left as it was, also after an exception.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from lentigo.explain.layer import Target, layer_of
from lentigo.explain.maps import HeatMaps, finite_maps, opposite_maps


def grad_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
) -> HeatMaps[Tensor]:
    """Channels weighed by their mean gradient: sum over k of mean(d score / d A_k) * A_k; unit: logit.

    Args:
        layer: by its name; None: the features of a LesionClassifier (in the paper: the last max-pooling layer).
        target: which score is explained, from the network's output; None: the output is one logit an image.
    Raises:
        ConfigError: the layer is not known or gives no maps, or the output is no score.
        RunError: a map or logit is not finite.
    Source: Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74, equations 1 and 2.
    """
    activations, gradients, logits = layer_of(model, layer, target=target).gradients(images)
    return opposite_maps(_weighed(gradients.mean(dim=(2, 3)), activations), logits)


def grad_cam_plus_plus(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
) -> HeatMaps[Tensor]:
    """Channels weighed by the sum of their positive gradients g, each times 1 / (2 + g * sum of A_k); unit: logit.

    That factor is the paper's g^2 / (2 g^2 + g^3 * sum of A_k). Left out is its exp(score), one number for all cells of
    an image. Public tools add 1e-6 to the denominator, which all but erases gradients below 1e-3; here 0 is.

    Args, Raises: as `grad_cam`; RunError also where negative activations make a denominator 0.
    Source: Chattopadhay et al. 2018, doi:10.1109/WACV.2018.00097, equations 15 and 19.
    """
    activations, gradients, logits = layer_of(model, layer, target=target).gradients(images)
    sums = activations.sum(dim=(2, 3), keepdim=True)

    def of_score(sign: int) -> Float32[Tensor, "batch rows columns"]:
        slopes = sign * gradients
        shares = torch.where(slopes > 0, slopes / (2 + slopes * sums), 0.0)
        return _weighed(shares.sum(dim=(2, 3)), activations)

    return finite_maps(of_score(1), of_score(-1), logits)


def hires_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
) -> HeatMaps[Tensor]:
    """Every cell by its own gradient: sum over k of d score / d A_k * A_k; unit: logit.

    Where one linear layer follows, the cells of the map and its bias add up to the logit.

    Args, Raises: as `grad_cam`.
    Source: Draelos & Carin 2020, arXiv:2011.08891.
    """
    activations, gradients, logits = layer_of(model, layer, target=target).gradients(images)
    return opposite_maps(torch.einsum("bkrc,bkrc->brc", gradients, activations), logits)


def layer_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
) -> HeatMaps[Tensor]:
    """Every cell by its own gradient where that is positive: sum over k of relu(d score / d A_k) * A_k; unit: logit.

    Args, Raises: as `grad_cam`.
    Source: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943, equations 5 and 6.
    """
    activations, gradients, logits = layer_of(model, layer, target=target).gradients(images)
    malignant, benign = (torch.einsum("bkrc,bkrc->brc", (s * gradients).relu(), activations) for s in (1, -1))
    return finite_maps(malignant, benign, logits)


def _weighed(
    weights: Float32[Tensor, "batch channel"], activations: Float32[Tensor, "batch channel rows columns"]
) -> Float32[Tensor, "batch rows columns"]:
    return torch.einsum("bkrc,bk->brc", activations, weights)
