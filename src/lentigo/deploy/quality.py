"""Whether one picture can be screened at all: an image in, findings in plain words out.

Each finding says what was seen and what to do about it, and either warns or refuses. All but the size is measured on
the picture squeezed to WORK_PX square, in whole numbers and plain steps that the page's TypeScript repeats. No finding
means that the picture can be judged; never that the spot on it is harmless. Needs numpy and Pillow only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from lentigo.deploy.lesion_spot import WORK_PX, box_sums, field_of_view, find_spot, grown, light_of, shrunk
from lentigo.errors import ConfigError
from lentigo.imaging import squeeze

# The limits were chosen on real pictures and on the same pictures spoilt: benchmarks/quality.py prints the rates.
REFUSE_BELOW_PX, WARN_BELOW_PX = 64.0, 200.0  # of the shorter side
REFUSE_SHARPNESS, WARN_SHARPNESS = 0.23, 0.285
REFUSE_BRIGHTNESS, WARN_BRIGHTNESS = 50.0, 70.0  # well lit, the darkest drawn skin (tone 6 of 6) has 75
WARN_CLIPPED, REFUSE_CLIPPED = 0.08, 0.4
REFUSE_CLEARNESS, WARN_CLEARNESS = 4.0, 5.0
WARN_BORDER = 0.12  # and only where the spot is no vague shade beside the edge, but stands out and is compact:
CUT_CONTRAST, CUT_SOLIDITY = 20.0, 0.6
WARN_HAIR = 0.13

SHARP_SHARE = 0.98  # rank of the details that sharpness is measured by: most of a picture is plain skin
NOISE = 4  # of 2040, rounding to whole numbers makes as much detail of its own
SHARP_RIM_PX = 6  # left out at the picture's and the frame's edge
BRIGHT_SHARE = 0.9  # rank: a large dark spot must not make a picture dark
CLIPPED_FROM = 254  # of 255
HAIR_DEPTH = 96 * 13  # 12 grey values, eight times, summed over a line's 13 pixels
HAIR_REACH = 6  # pixels of a line to each side of its middle
HAIR_RING_PX = (1, 5)  # of SPOT_PX, away from the spot: inside of it pigment draws lines too
# Eight directions of a line: steps (down, right) times t / 2 rounded down, and where the skin beside it is compared.
HAIR_LINES = (
    ((0, 2), (3, 0)),
    ((1, 2), (3, -1)),
    ((2, 2), (2, -2)),
    ((2, 1), (-1, 3)),
    ((2, 0), (0, 3)),
    ((2, -1), (1, 3)),
    ((2, -2), (2, 2)),
    ((-1, 2), (3, 1)),
)

Severity = Literal["refuse", "warn"]
Plane = Bool[np.ndarray, "side side"]
Whole = Int64[np.ndarray, "side side"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a picture."""

    name: str
    severity: Severity
    text: str  # what was found
    advice: str  # what to do


@dataclass(frozen=True)
class Quality:
    """What was found about a picture, and the numbers behind it."""

    findings: tuple[Finding, ...]
    measures: dict[str, float]

    @property
    def refused(self) -> bool:
        """Whether any finding refuses the picture."""
        return any(finding.severity == "refuse" for finding in self.findings)


_AGAIN = "Take the picture again"
WORDS = {  # name and severity: what was found, what to do
    ("too_small", "refuse"): (
        "The picture is too small: its shorter side has fewer than 64 pixels.",
        "Take or choose a picture with more pixels, or cut less away.",
    ),
    ("too_small", "warn"): (
        "The picture is small: its shorter side has fewer than 200 pixels, so fine structures are missing.",
        "Use a larger picture if you have one, or go closer to the spot.",
    ),
    ("blurred", "refuse"): (
        "The picture is blurred: no fine structures can be seen.",
        f"{_AGAIN}: hold the camera still, let it focus on the spot, and wipe the lens.",
    ),
    ("blurred", "warn"): (
        "The picture looks a little blurred.",
        f"{_AGAIN} if you can: hold the camera still and let it focus on the spot.",
    ),
    ("too_dark", "refuse"): (
        "The picture is too dark.",
        f"{_AGAIN} in brighter light or with the dermatoscope's lamp on.",
    ),
    ("too_dark", "warn"): (
        "The picture is rather dark.",
        f"{_AGAIN} in brighter light if you can.",
    ),
    ("too_bright", "refuse"): (
        "The picture is too bright: large parts of it are plain white or have lost their colour.",
        f"{_AGAIN} without flash or reflections, or with less light.",
    ),
    ("too_bright", "warn"): (
        "Parts of the picture are so bright that their colour is lost.",
        f"{_AGAIN} without flash or reflections if you can.",
    ),
    ("no_lesion", "refuse"): (
        "No spot was found that stands out from the skin around it.",
        "Move the spot to the middle, leave some skin around it, and take the picture again.",
    ),
    ("no_lesion", "warn"): (
        "The spot hardly stands out from the skin around it, so it may have been missed.",
        "Check that the spot is in the middle of the picture and that some skin around it can be seen.",
    ),
    ("lesion_cut", "warn"): (
        "The spot seems to be cut off by the edge of the picture.",
        "Take the picture from a little further away, so that the whole spot and some skin around it can be seen.",
    ),
    ("several_lesions", "warn"): (
        "More than one spot was found; the result is for the whole picture and not for one of them.",
        "Take one picture of each spot, or cut the picture so that it shows one spot only.",
    ),
    ("hair", "warn"): (
        "Hair or other dark lines lie around the spot and very likely over it.",
        "Brush or clip the hair aside, and take the picture again.",
    ),
    ("not_dermoscopy", "refuse"): (
        "The picture does not look like the pictures of spots on skin that the model has learned from.",
        "Use a picture of one spot on the skin, taken close up, best through a dermatoscope.",
    ),
    ("not_dermoscopy", "warn"): (
        "The picture looks unlike most of the pictures that the model has learned from.",
        "Use a picture of one spot on the skin, taken close up, best through a dermatoscope.",
    ),
}


def check_quality(image: UInt8[np.ndarray, "height width 3"]) -> Quality:
    """What speaks against judging a picture, from its pixels alone.

    The measures: shorter_side_px; sharpness (fine by coarse detail, about 0.3 to 1.5 in sharp pictures); brightness
    (grey value, 0 to 255, that nine tenths of the pixels do not exceed); clipped_share (of pixels that lost their
    colour); lesion_clearness (how much deeper the colour is inside of the spot's outline than outside, of 255, times
    the share of the outline that is not at the edge); lesion_contrast (the same of the whole spot and the whole rest);
    lesion_solidity (share of its upright box that the spot fills); lesion_share (of the field of view);
    lesion_border_share (of the outline, at the edge); lesion_count; hair_share (of a ring around the spot).
    """
    small = squeeze(image, WORK_PX)
    light = light_of(small)
    seen = field_of_view(light)
    spot = find_spot(small, seen)
    measures = {
        "shorter_side_px": float(min(image.shape[:2])),
        "sharpness": sharpness(light, seen),
        "brightness": brightness(light, seen),
        "clipped_share": clipped_share(small, seen),
        "lesion_clearness": spot.clearness,
        "lesion_contrast": spot.contrast,
        "lesion_solidity": spot.solidity,
        "lesion_share": spot.share,
        "lesion_border_share": spot.border_share,
        "lesion_count": float(spot.count),
        "hair_share": hair_share(light, seen, spot.mask),
    }
    return Quality(findings_of(measures), measures)


def findings_of(measures: Mapping[str, float]) -> tuple[Finding, ...]:
    """The findings that `check_quality` makes of its measures, in the order of the contract."""
    m = measures
    compact = m["lesion_contrast"] >= CUT_CONTRAST and m["lesion_solidity"] >= CUT_SOLIDITY
    found = [
        ("too_small", _below(m["shorter_side_px"], REFUSE_BELOW_PX, WARN_BELOW_PX)),
        ("blurred", _below(m["sharpness"], REFUSE_SHARPNESS, WARN_SHARPNESS)),
        ("too_dark", _below(m["brightness"], REFUSE_BRIGHTNESS, WARN_BRIGHTNESS)),
        ("too_bright", _above(m["clipped_share"], WARN_CLIPPED, REFUSE_CLIPPED)),
        ("no_lesion", _below(m["lesion_clearness"], REFUSE_CLEARNESS, WARN_CLEARNESS)),
        ("lesion_cut", _above(m["lesion_border_share"] if compact else 0.0, WARN_BORDER, math.inf)),
        ("several_lesions", _above(m["lesion_count"], 1.0, math.inf)),
        ("hair", _above(m["hair_share"], WARN_HAIR, math.inf)),
    ]
    return tuple(_finding(name, severity) for name, severity in found if severity is not None)


def outlier_findings(outlier: float, limits: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Whether the model's own score says that the picture is unlike all it has learned from; none or one finding.

    Args:
        outlier: 0 or more; what is not a finite number is refused.
        limits: "warn_above" and "refuse_above", as in model.json.
    Raises: ConfigError: a limit is missing or not a number.
    """
    warn_above, refuse_above = (_limit(limits, key) for key in ("warn_above", "refuse_above"))
    if not math.isfinite(outlier) or outlier > refuse_above:
        return (_finding("not_dermoscopy", "refuse"),)
    return (_finding("not_dermoscopy", "warn"),) if outlier > warn_above else ()


def sharpness(light: Int64[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"]) -> float:
    """Fine detail by coarse detail, each the one that all but 2 % of the pixels stay below; 0 where there is none.

    A ratio, so that pale and dark skin, a plain and a busy picture are judged alike.
    """
    inside = shrunk(seen, SHARP_RIM_PX, beyond=False)
    if not inside.any():
        return 0.0
    three, five, eleven = (box_sums(light, reach) for reach in (1, 2, 5))
    fine = _rank(np.abs(9 * light - three)[inside], SHARP_SHARE) / 9
    coarse = _rank(np.abs(121 * five - 25 * eleven)[inside], SHARP_SHARE) / (25 * 121)
    return max(fine - NOISE, 0.0) / coarse if coarse > 0 else 0.0


def brightness(light: Int64[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"]) -> float:
    """Grey value, 0 to 255, that nine tenths of what is seen do not exceed."""
    return _rank(light[seen], BRIGHT_SHARE) / 8


def clipped_share(small: UInt8[np.ndarray, "side side 3"], seen: Bool[np.ndarray, "side side"]) -> float:
    """Share of what is seen where two or three colours are as bright as can be."""
    clipped = (small >= CLIPPED_FROM).sum(axis=2) >= 2
    return int((clipped & seen).sum()) / int(seen.sum())


def hair_share(
    light: Int64[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"], spot: Bool[np.ndarray, "half half"]
) -> float:
    """Share of the ring around the spot that dark lines cover; 0 without a spot or a ring.

    Hair on a spot goes on beside it. On the spot itself a network of pigment, and a small dark spot, look like hair.
    """
    near, far = HAIR_RING_PX
    ring = grown(spot, far) & ~grown(spot, near)
    ring = np.repeat(np.repeat(ring, 2, axis=0), 2, axis=1) & seen
    return int((dark_lines(light) & ring).sum()) / int(ring.sum()) if ring.any() else 0.0


def dark_lines(light: Int64[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    """Where a straight line of 13 pixels is darker than the lines beside it on both sides.

    Beyond the picture its outermost pixels go on.
    """
    side, reach = light.shape[0], 3
    edge = HAIR_REACH + reach
    padded = np.pad(light, edge, mode="edge")
    lines = np.zeros(light.shape, dtype=bool)
    for (down, right), (below, beside) in HAIR_LINES:
        sums = np.zeros((side + 2 * reach, side + 2 * reach), dtype=np.int64)
        for t in range(-HAIR_REACH, HAIR_REACH + 1):
            y, x = HAIR_REACH + down * t // 2, HAIR_REACH + right * t // 2
            sums += padded[y : y + side + 2 * reach, x : x + side + 2 * reach]
        one, other, middle = (
            sums[reach + y : reach + y + side, reach + x : reach + x + side]
            for y, x in ((below, beside), (-below, -beside), (0, 0))
        )
        lines |= np.minimum(one, other) - middle > HAIR_DEPTH
    return lines


def _rank(values: Int64[np.ndarray, " value"], share: float) -> int:
    """Of the sorted values the one with number share * count, rounded down and counted from 0."""
    rank = math.floor(share * len(values))
    return int(np.partition(values, rank)[rank])


def _below(value: float, refuse: float, warn: float) -> Severity | None:
    return "refuse" if value < refuse else "warn" if value < warn else None


def _above(value: float, warn: float, refuse: float) -> Severity | None:
    return "refuse" if value > refuse else "warn" if value > warn else None


def _finding(name: str, severity: Severity) -> Finding:
    return Finding(name, severity, *WORDS[name, severity])


def _limit(limits: Mapping[str, Any], key: str) -> float:
    value = limits.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ConfigError(f"outlier.{key} is {value!r}, not a finite number; export the model again")
