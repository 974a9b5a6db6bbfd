"""One picture through an exported model: probability, band, heat map, and what speaks against believing them.

Needs numpy, Pillow and onnxruntime only. A picture is refused where its quality or its look says that the model was not
made for it. No band means that a lesion is harmless.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from lentigo.deploy import NOTICE
from lentigo.deploy.model_file import INPUT, OUTPUTS, AboutModel, open_model
from lentigo.deploy.quality import Finding, check_quality, outlier_findings
from lentigo.errors import ModelError
from lentigo.explain.on_image import overlay, to_image_size
from lentigo.imaging import preprocess, read_image

Band = Literal["low", "unclear", "high", "refused"]


@dataclass(frozen=True, kw_only=True)
class Screening:
    """What a model says of one picture."""

    name: str  # of the picture
    band: Band  # "refused": the picture is not judged, and the findings say why
    probability: float | None  # of malignant; None where it is refused
    calibrated: bool  # whether the probability was fitted on validation images
    band_reason: str  # what speaks against the bands, or why everything is unclear; empty without
    logit: float | None
    outlier: float  # distance from the training images, see `deploy.outlier`
    findings: tuple[Finding, ...]
    heat: Float32[np.ndarray, "rows columns"] | None = field(repr=False)  # raw Grad-CAM in logits; None where refused
    model: str
    demo: bool  # trained on drawn lesions: its numbers mean nothing

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values, without the map."""
        return {
            "image": self.name,
            "band": self.band,
            "probability": self.probability,
            "calibrated": self.calibrated,
            "band_reason": self.band_reason,
            "logit": self.logit,
            "outlier": self.outlier if math.isfinite(self.outlier) else None,
            "findings": [vars(finding) for finding in self.findings],
            "model": self.model,
            "demo": self.demo,
            "notice": NOTICE,
        }


class Screener:
    """An exported model, ready for one picture after the other; may be used by several threads at once.

    Args:
        model: a model.onnx of `lentigo export`, or the folder that holds it.
        threads: that one picture may use; 0: as many as there are cores.
    Raises: ModelError: missing, damaged, or not made by lentigo.
    """

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        self._session, self._about = open_model(model, threads=threads)
        self._path = model

    @property
    def about(self) -> AboutModel:
        """The model's own account of itself."""
        return self._about

    def screen(
        self,
        image: Path | str | bytes | UInt8[np.ndarray, "height width 3"],
        *,
        name: str | None = None,
        insist: bool = False,
    ) -> Screening:
        """Judge one picture.

        Args:
            image: a path, the bytes of a file, or pixels.
            name: what the result calls it; default the path, or "image".
            insist: judge also what would be refused; the findings stay.
        Raises: ImageError: it is no image that can be read.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image, name=name)
        name = name or (str(image) if isinstance(image, Path | str) else "image")
        quality = check_quality(pixels)
        inputs = preprocess(pixels, self._about.preprocessing)[None]
        logits, maps, outliers = self._session.run(list(OUTPUTS), {INPUT: inputs})
        logit, outlier = float(logits[0]), float(outliers[0])
        if not np.isfinite(logit):
            raise ModelError(f"{self._path} gives no finite logit for {name}; its training or its file is broken")
        findings = (*quality.findings, *outlier_findings(outlier, self._about.content["outlier"]))
        refused = not insist and any(finding.severity == "refuse" for finding in findings)
        return Screening(
            name=name,
            band="refused" if refused else self._about.bands.of(logit),
            probability=None if refused else self._about.probability(logit),
            calibrated=self._about.content["temperature"] is not None,
            band_reason=self._about.bands.reason,
            logit=None if refused else logit,
            outlier=outlier,
            findings=findings,
            heat=None if refused else maps[0],
            model=self._about.title,
            demo=self._about.demo,
        )


def heat_overlay(
    image: UInt8[np.ndarray, "height width 3"],
    heat: Float32[np.ndarray, "rows columns"],
    about: AboutModel,
    opacity: float = 0.5,
    *,
    side_px: int | None = None,
) -> UInt8[np.ndarray, "out_height out_width 3"]:
    """What speaks for malignant, in colours over the picture: blue little, red as much as the model's own scale has.

    The scale is the model's, not the picture's, so that pictures compare; see `overlay`.

    Args:
        heat: raw, as in a Screening.
        opacity: of full red, in [0, 1].
        side_px: a picture whose longer side is longer is made smaller first; a map has 75 cells, and 50 megapixels of
            colours would take gigabytes.
    """
    if side_px is not None and max(image.shape[:2]) > side_px:
        picture = Image.fromarray(image)
        picture.thumbnail((side_px, side_px))
        image = np.asarray(picture)
    height, width = image.shape[:2]
    side = max(height, width)
    spread = to_image_size(np.maximum(heat, 0)[None], about.preprocessing, size_px=side)[0]
    rows, columns = (((np.arange(length) + 0.5) * side / length).astype(np.int64) for length in (height, width))
    return overlay(image, spread[rows][:, columns].clip(min=0), maximum=about.cam_maximum, opacity=opacity)
