"""A pack's images kept on a GPU as uint8, so that an epoch reads no file and moves no image.

10,605 images of 300 px take 2.9 GB. One pack a device is kept, until another takes its place or `forget` is called.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lentigo.data.augment_together import to_device
from lentigo.data.pack import ImagePack
from lentigo.machine import cores

_SHARE = 0.4  # of the free memory, at most: networks and their activations need the rest
_PIECE = 64
_MAX_THREADS = 16

Kept = tuple[ImagePack, UInt8[Tensor, "image height width 3"]]
_kept: dict[torch.device, Kept] = {}


def keep_on_device(pack: ImagePack, device: torch.device) -> bool:
    """Read all images of the pack, checked, onto a device, if its free memory allows; whether they are there now.

    Raises: DataError: the pack is damaged.
    """
    device = _numbered(device)
    if is_kept(pack, device):
        return True
    forget(device)
    if len(pack) * pack.image_px**2 * 3 > _SHARE * _free_bytes(device):
        return False
    images = torch.empty((len(pack), pack.image_px, pack.image_px, 3), dtype=torch.uint8, device=device)

    def read(start: int) -> None:
        rows = np.arange(start, min(start + _PIECE, len(pack)))
        images[start : start + len(rows)] = torch.from_numpy(pack.read(rows)).to(device)

    with ThreadPoolExecutor(min(cores(), _MAX_THREADS)) as pool:
        list(pool.map(read, range(0, len(pack), _PIECE)))
    _kept[device] = (pack, images)
    return True


def is_kept(pack: ImagePack, device: torch.device) -> bool:
    """Whether the images of a pack, or of the pack that it is a subset of, are on the device."""
    whole = _kept[_numbered(device)][0] if _numbered(device) in _kept else None
    return whole is not None and whole.folder == pack.folder and whole.places in (pack.places, None)


def kept_images(pack: ImagePack, rows: np.ndarray, device: torch.device) -> UInt8[Tensor, "image height width 3"]:
    """The images at `rows` of a pack for which `is_kept` holds."""
    whole, images = _kept[_numbered(device)]
    if pack.places != whole.places:
        rows = np.asarray(pack.places)[rows]
    return images.index_select(0, to_device(np.asarray(rows, dtype=np.int64), images.device))


def forget(device: torch.device) -> None:
    """Give the memory back."""
    if _kept.pop(_numbered(device), None) is not None and device.type == "cuda":
        torch.cuda.empty_cache()  # else torch keeps it for itself


def _numbered(device: torch.device) -> torch.device:
    """cuda is the current one of several."""
    if str(device) == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
