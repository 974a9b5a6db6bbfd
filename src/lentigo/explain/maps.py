"""Heat maps of a batch: for either decision one coarse map an image, unstretched, and the logits that they explain."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from lentigo.errors import DataError, RunError

Decision: TypeAlias = Literal["malignant", "benign"]
Array = TypeVar("Array", Tensor, np.ndarray)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMaps(Generic[Array]):
    """Raw float32 maps, before the ReLU that ends most methods, and logits; all tensors on one device, or all arrays.

    There is one logit, so the score of "malignant" is logit and that of "benign" is -logit. Above 0 a cell speaks for
    the decision, at 0 or below it does not. Maps are in the unit of their method, which `methods.METHODS` names.
    """

    malignant: Array  # batch, rows, columns
    benign: Array  # batch, rows, columns
    logits: Array  # batch; higher = more malignant

    def positive(self, decision: Decision) -> Array:
        """The map of a decision as it is published: what speaks for it, 0 elsewhere, never NaN."""
        return (self.malignant if decision == "malignant" else self.benign).clip(min=0)

    def empty(self, decision: Decision) -> Array:
        """True where the map of the decision has no positive value: nothing in the image speaks for it.

        Both decisions can be empty, where the head has no gradient (a dead ReLU).
        """
        positive: Any = self.positive(decision)
        found: Array = ~positive.reshape(len(positive), -1).any(1)
        return found

    def signed(self) -> Array:
        """One map for both decisions: above 0 speaks for malignant, below 0 for benign.

        It is what speaks for malignant less what speaks for benign; where one raw map is the negative of the other, as
        in Grad-CAM, that is the raw map of malignant itself, to the last bit.
        """
        signed: Array = self.positive("malignant") - self.positive("benign")
        return signed


def in_memory(maps: HeatMaps[Tensor]) -> HeatMaps[np.ndarray]:
    """The same as arrays in main memory."""
    malignant, benign, logits = (part.cpu().numpy() for part in (maps.malignant, maps.benign, maps.logits))
    return HeatMaps(malignant=malignant, benign=benign, logits=logits)


def joined(pieces: Iterable[HeatMaps[np.ndarray]]) -> HeatMaps[np.ndarray]:
    """Pieces as one, in their order; all are in memory at once, so it is for sets that fit.

    Raises: DataError: there is no image, or maps differ in size.
    """
    held = list(pieces)
    sizes = sorted({piece.malignant.shape[1:] for piece in held})
    if len(sizes) != 1:
        found = f"maps of the sizes {sizes}" if sizes else "no image"
        raise DataError(f"found {found} to explain; give at least one image, and all in one size")
    return HeatMaps(
        malignant=np.concatenate([piece.malignant for piece in held]),
        benign=np.concatenate([piece.benign for piece in held]),
        logits=np.concatenate([piece.logits for piece in held]),
    )


def opposite_maps(
    malignant: Float32[Tensor, "batch rows columns"], logits: Float32[Tensor, " batch"]
) -> HeatMaps[Tensor]:
    """Heat maps of a method that is linear in the score: what speaks for benign is what speaks against malignant.

    Raises: RunError: a map or logit is not finite.
    """
    return finite_maps(malignant, -malignant, logits)


def finite_maps(
    malignant: Float32[Tensor, "batch rows columns"],
    benign: Float32[Tensor, "batch rows columns"],
    logits: Float32[Tensor, " batch"],
) -> HeatMaps[Tensor]:
    """Heat maps that hold numbers only.

    Raises: RunError: a map or logit is not finite.
    """
    good = (malignant.isfinite() & benign.isfinite()).flatten(1).all(dim=1) & logits.isfinite()
    if not good.all():
        wrong = (~good).nonzero().flatten().tolist()
        raise RunError(
            f"the heat maps or logits of images {wrong[:5]} of a batch of {len(good)} are not finite; "
            "check the images, and that the training of this network did not diverge"
        )
    return HeatMaps(malignant=malignant, benign=benign, logits=logits)
