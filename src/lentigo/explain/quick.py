"""A network for many images on a processor: a copy whose features take less time and give the same numbers.

Three things make it quick: the layout in which colours lie together, pieces of a batch that stay in the cache, and
convolutions by Winograd's minimal filtering, which multiplies 2.25 times for an output of a 3x3 kernel instead of 9
times. Results differ from the network's own by rounding: some 1e-6 of the largest value a convolution (measured by
tests/explain/test_quick.py). What it gains stands in benchmarks/RESULTS.md.

Source: Winograd 1980, doi:10.1137/1.9781611970364; for convolutions of networks: Lavin & Gray 2016,
doi:10.1109/CVPR.2016.435. Points 0, 1, -1, 2, -2 and infinity.
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn.functional import pad

from lentigo.models.contract import LesionClassifier, split_at_cam

# Pixels of a batch at once, 4 images of 300 px: with one, deep layers read their kernels too often; 16 images of 300 px
# leave the cache, and Tiny VGG takes 1.6 times as long.
_PIECE_PX = 400_000
_TILES = 256  # at once: then the intermediate values of 64 to 512 channels stay in the cache
_LEAST_CHANNELS = 64  # with fewer, or a kernel of 5x5, the transformations cost what the multiplications save
_OUT, _KERNEL, _IN = 4, 3, 6  # sides of an output tile, a kernel and an input tile
_TRANSFORMED_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def quick_copy(model: LesionClassifier) -> LesionClassifier:
    """A network of a copy of the features as they are now, and the same head, the very same module.

    On another device than the processor, or in another precision than float32, the network itself comes back. The copy
    gives no gradient of what comes before the head.
    """
    features, head = split_at_cam(model)
    if any(tensor.device.type != "cpu" or tensor.dtype != torch.float32 for tensor in features.parameters()):
        return model
    prepared = _Pieces(_with_winograd(copy.deepcopy(features)))
    quick = LesionClassifier(prepared.to(memory_format=torch.channels_last), head)
    quick.cam_layer = model.cam_layer
    return quick


class _Pieces(nn.Module):
    """Features of a batch, piece by piece."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Float32[Tensor, "batch colour height width"]) -> Tensor:
        with torch.no_grad():
            images = images.contiguous(memory_format=torch.channels_last)
            together = max(_PIECE_PX // (images.shape[2] * images.shape[3]), 1)
            starts = range(0, len(images), together)
            return torch.cat([self.features(images[start : start + together]) for start in starts])


class _Winograd(nn.Module):
    """A 3x3 convolution of stride 1, in tiles of 4x4 outputs."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.padding, self.bias = cast("tuple[int, int]", convolution.padding), convolution.bias
        transform = torch.tensor(_TRANSFORMED_KERNEL, dtype=torch.float64)
        kernels = convolution.weight.detach().double()
        transformed = torch.einsum("ai,bj,ocij->abco", transform, transform, kernels).float()
        self.kernels = nn.Buffer(transformed.reshape(_IN * _IN, *transformed.shape[2:]).contiguous(), persistent=False)

    def forward(
        self, maps: Float32[Tensor, "batch channel rows columns"]
    ) -> Float32[Tensor, "batch kernel out_r out_c"]:
        images, (above, left) = maps.permute(0, 2, 3, 1), self.padding
        rows, columns = images.shape[1] + 2 * above - _KERNEL + 1, images.shape[2] + 2 * left - _KERNEL + 1
        down, across = -(-rows // _OUT), -(-columns // _OUT)  # tiles; the last ones may reach beyond the output
        below, right = above + down * _OUT - rows, left + across * _OUT - columns
        padded = pad(images, (0, 0, left, right, above, below))
        out = images.new_empty(len(images), rows, columns, self.kernels.shape[2])
        strip, together = max(_TILES // across, 1), max(_TILES // (across * down), 1)
        for image in range(0, len(images), together):
            for top in range(0, down, strip):
                first, end = top * _OUT, min(top + strip, down) * _OUT
                source, target = padded[image : image + together], out[image : image + together]
                tiled = self._tiles(source[:, first : end + _KERNEL - 1], across)
                target[:, first:end] = tiled[:, : rows - first, :columns]
        if self.bias is not None:
            out += self.bias
        return out.permute(0, 3, 1, 2)

    def _tiles(
        self, images: Float32[Tensor, "image in_r in_c channel"], across: int
    ) -> Float32[Tensor, "image out_r out_c kernel"]:
        count, height, width, channels = images.shape
        down, kernels = (height - _KERNEL + 1) // _OUT, self.kernels.shape[2]
        by_row = images.new_empty(_IN, count, down, width, channels)
        _transform_input([images[:, i : i + (down - 1) * _OUT + 1 : _OUT] for i in range(_IN)], by_row)
        by_both = images.new_empty(_IN, _IN, count, down, across, channels)
        _transform_input(
            [by_row[:, :, :, i : i + (across - 1) * _OUT + 1 : _OUT] for i in range(_IN)], by_both.unbind(1)
        )
        products = torch.bmm(by_both.view(_IN * _IN, -1, channels), self.kernels)
        of_columns = images.new_empty(_IN, count, down, across, _OUT, kernels)
        _transform_output(products.view(_IN, _IN, count, down, across, kernels).unbind(1), of_columns.unbind(4))
        out = images.new_empty(count, down, _OUT, across * _OUT, kernels)
        _transform_output(of_columns.view(_IN, count, down, across * _OUT, kernels), out.unbind(2))
        return out.view(count, down * _OUT, across * _OUT, kernels)


def _transform_input(tile: Sequence[Tensor], out: Sequence[Tensor] | Tensor) -> None:
    """Six values to six: rows (4 0 -5 0 1 0), (0 -4 -4 1 1 0), (0 4 -4 -1 1 0), (0 -2 -1 2 1 0), ... of the matrix."""
    x0, x1, x2, x3, x4, x5 = tile
    even, odd = torch.add(x4, x2, alpha=-4), torch.add(x3, x1, alpha=-4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(x4, x2, out=even)
    torch.sub(x3, x1, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(torch.add(x4, x2, alpha=-5, out=even), x0, alpha=4, out=out[0])
    torch.add(torch.add(x5, x3, alpha=-5, out=odd), x1, alpha=4, out=out[5])


def _transform_output(products: Sequence[Tensor] | Tensor, out: Sequence[Tensor]) -> None:
    """Six values to four: rows (1 1 1 1 1 0), (0 1 -1 2 -2 0), (0 1 1 4 4 0), (0 1 -1 8 -8 1) of the matrix."""
    y0, y1, y2, y3, y4, y5 = products
    near, far = y1 + y2, y3 + y4
    torch.add(near, far, out=out[0]).add_(y0)
    torch.add(near, far, alpha=4, out=out[2])
    torch.sub(y1, y2, out=near)
    torch.sub(y3, y4, out=far)
    torch.add(near, far, alpha=2, out=out[1])
    torch.add(near.add_(far, alpha=8), y5, out=out[3])


def _with_winograd(module: nn.Module) -> nn.Module:
    if _suits(module):
        return _Winograd(module)  # type: ignore[arg-type]
    for name, child in module.named_children():
        setattr(module, name, _with_winograd(child))
    return module


def _suits(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (_KERNEL, _KERNEL)
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and min(module.in_channels, module.out_channels) >= _LEAST_CHANNELS
    )
