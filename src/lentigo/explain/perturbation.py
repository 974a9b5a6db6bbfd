"""Heat maps from what the score does when something is hidden: images in, a coarse map an image and decision out.

No gradient is taken. Images go through the network in pieces of `at_once`, so that memory is bounded however many
channels or windows there are. Dropout is off; the network is left as it was, also after an exception.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lentigo.errors import ConfigError
from lentigo.explain.layer import Target, layer_of, score_images
from lentigo.explain.maps import HeatMaps, finite_maps, opposite_maps

AT_ONCE = 32
_ROUNDING = 1e-6  # of a score: less is what float32 makes of another order of sums, as in a batch of another size


def score_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
    aligned_corners: bool = False,
    at_once: int = AT_ONCE,
) -> HeatMaps[Tensor]:
    """Channels weighed by the score of the image seen through them; unit: that of the activations.

    A mask is a channel enlarged to the image, bilinear, and stretched to [0, 1]; a channel of one value hides all. The
    weights are the softmax over channels of the scores, so they add up to 1, and of the negative scores for benign.
    Hidden is what is 0 in the network's input: the mean colour or black, as the preprocessing has it.

    Args:
        layer, target: as `cam.grad_cam`.
        aligned_corners: enlarge so that the outermost cells have their centres on the image's edge, as the grad-cam
            package does; by default the cells divide the image evenly, as `on_image` draws them.
        at_once: images in one forward pass.
    Raises: as `cam.grad_cam`; ConfigError: `at_once` is below 1.
    Source: Wang et al. 2020, doi:10.1109/CVPRW50498.2020.00020; softmax: the authors' code and the grad-cam package.
    """
    chosen = layer_of(model, layer, target=target)
    activations = chosen.activations(images)
    scores = []
    for image, channel in _pairs(activations.shape[0], activations.shape[1], at_once, images.device):
        masks = interpolate(
            activations[image, channel][:, None].float(),
            size=images.shape[2:],
            mode="bilinear",
            align_corners=aligned_corners,
        )
        scores.append(score_images(model, images[image] * _stretched(masks).to(images.dtype), target=target))
    through = torch.cat(scores).reshape(activations.shape[:2])
    malignant, benign = (
        torch.einsum("bkrc,bk->brc", activations.float(), (sign * through).softmax(dim=1)) for sign in (1, -1)
    )
    return finite_maps(malignant, benign, score_images(model, images, target=target))


def ablation_cam(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    layer: str | None = None,
    target: Target | None = None,
    at_once: int = AT_ONCE,
) -> HeatMaps[Tensor]:
    """Channels weighed by what the score loses without them: sum over k of (score - score at A_k = 0) * A_k.

    The paper divides the weights by the score. With one logit for two decisions that would give both the same map,
    and turn it round where the logit is negative; so it is left out, and the weights are in logits. Of the default
    layer only the head runs again.

    Args:
        layer, target: as `cam.grad_cam`.
        at_once: images in one forward pass.
    Raises: as `cam.grad_cam`; ConfigError: `at_once` is below 1.
    Source: Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360, equations 3 and 4.
    """
    chosen = layer_of(model, layer, target=target)
    activations = chosen.activations(images)
    without = []
    with torch.no_grad():
        logits = chosen.scores(images, activations).float()
        for image, channel in _pairs(activations.shape[0], activations.shape[1], at_once, images.device):
            ablated = activations[image]
            ablated[torch.arange(len(image), device=images.device), channel] = 0
            without.append(chosen.scores(images[image], ablated).float())
    weights = _lost(logits, torch.cat(without).reshape(activations.shape[:2]))
    return opposite_maps(torch.einsum("bkrc,bk->brc", activations.float(), weights), logits)


def occlusion(
    model: nn.Module,
    images: Float[Tensor, "batch colour height width"],
    *,
    target: Target | None = None,
    window_px: int = 32,
    stride_px: int = 16,
    fill: Sequence[float] | None = None,
    at_once: int = AT_ONCE,
) -> HeatMaps[Tensor]:
    """What the score loses when a square of the image is covered; unit: logit. Any network, no layer.

    The map's cells divide the image evenly, and are `stride_px` wide where that divides the image, else as near to it
    as can be. A window covers whole cells; a cell's value is the mean over the windows that cover it.

    Args:
        target: as `cam.grad_cam`.
        window_px: side of the square, a multiple of `stride_px`.
        stride_px: from one square to the next.
        fill: one value a colour, in the unit of the network's input; None: the image's own mean colour. Black would
            look like the frame of a dermatoscope.
        at_once: images in one forward pass.
    Raises:
        ConfigError: a size or `fill` is out of range, or the output is no score.
        RunError: a map or logit is not finite.
    Source: Zeiler & Fergus 2014, doi:10.1007/978-3-319-10590-1_53, section 4.2.
    """
    across = _checked_span(window_px, stride_px, images)
    edges = [_edges(side, stride_px) for side in images.shape[2:]]
    starts = [len(cuts) - across for cuts in edges]  # windows along either side
    filling = _filling(images, fill)
    logits = score_images(model, images, target=target)
    scores = []
    for image, window in _pairs(len(images), starts[0] * starts[1], at_once, images.device):
        covered = images[image]
        for one, source, place in zip(covered, image.tolist(), window.tolist(), strict=True):
            (top, bottom), (left, right) = (
                (cuts[start], cuts[start + across]) for cuts, start in zip(edges, divmod(place, starts[1]), strict=True)
            )
            one[:, top:bottom, left:right] = filling[source]
        scores.append(score_images(model, covered, target=target))
    lost = _lost(logits, torch.cat(scores).reshape(len(images), -1)).reshape(len(images), *starts)
    return opposite_maps(_mean_over_windows(lost, across), logits)


def _pairs(
    images: int, things: int, at_once: int, device: torch.device
) -> Iterator[tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"]]]:
    """Every image with every channel or window, `at_once` pairs at a time, all of an image in a row."""
    if at_once < 1:
        raise ConfigError(f"at_once is {at_once}, not 1 or more; try {AT_ONCE}")
    for start in range(0, images * things, at_once):
        pair = torch.arange(start, min(start + at_once, images * things), device=device)
        yield pair // things, pair % things


def _lost(before: Float32[Tensor, " batch"], after: Float32[Tensor, "batch thing"]) -> Float32[Tensor, "batch thing"]:
    """What the score lost; 0 where that is rounding, so that an image of one colour has an empty map and no noise."""
    lost = before[:, None] - after
    rounding = _ROUNDING * torch.maximum(before.abs()[:, None], after.abs())
    return torch.where(lost.abs() > rounding, lost, lost * 0)  # NaN stays NaN, to be refused


def _stretched(masks: Float32[Tensor, "pair 1 height width"]) -> Float32[Tensor, "pair 1 height width"]:
    """Each from its lowest value to its highest; 0 where it has only one, but for rounding."""
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    several = high - low > _ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(several, (masks - low) / torch.where(several, high - low, 1.0), (masks - low) * 0)


def _checked_span(window_px: int, stride_px: int, images: Tensor) -> int:
    """Cells along a window."""
    if stride_px < 1 or window_px < stride_px or window_px % stride_px:
        raise ConfigError(
            f"window_px is {window_px} and stride_px {stride_px}; the window must be a multiple of the stride, and the "
            "stride 1 or more; try 32 and 16"
        )
    cells = min(len(_edges(side, stride_px)) - 1 for side in images.shape[2:])
    if window_px // stride_px > cells:
        raise ConfigError(
            f"window_px is {window_px}, too large for images of {images.shape[2]} x {images.shape[3]} px; "
            "lower it and stride_px"
        )
    return window_px // stride_px


def _edges(side_px: int, stride_px: int) -> list[int]:
    """Where cells begin, and where the last one ends."""
    cells = max(round(side_px / stride_px), 1)
    return [round(cell * side_px / cells) for cell in range(cells + 1)]


def _filling(
    images: Float[Tensor, "batch colour height width"], fill: Sequence[float] | None
) -> Float[Tensor, "batch colour 1 1"]:
    if fill is None:
        return images.mean(dim=(2, 3), keepdim=True)
    if len(fill) != images.shape[1]:
        raise ConfigError(f"fill has {len(fill)} values, the images {images.shape[1]} colours; give one value a colour")
    values = torch.tensor(list(fill), dtype=images.dtype, device=images.device)
    return values[None, :, None, None].expand(len(images), -1, 1, 1)


def _mean_over_windows(lost: Float32[Tensor, "batch down right"], across: int) -> Float32[Tensor, "batch rows columns"]:
    rows, columns = (size + across - 1 for size in lost.shape[1:])
    total, count = lost.new_zeros(len(lost), rows, columns), lost.new_zeros(rows, columns)
    for row in range(across):
        for column in range(across):
            here = slice(row, row + lost.shape[1]), slice(column, column + lost.shape[2])
            total[:, *here] += lost
            count[here] += 1
    return total / count
