"""What the report holds on where networks look: plain values, made by `explain.looks` and each run's explanation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lentigo.explain.looks import Looks
from lentigo.explain.trust_pairs import TrustPair


@dataclass(frozen=True, kw_only=True)
class LookReport:
    """Measures of all networks on the same test images, and what each run's explanation.json says."""

    looks: Looks  # by Grad-CAM
    second: Looks | None  # by HiResCAM, whose values are exact where the head is one linear layer
    runs: Mapping[str, Mapping[str, Any]]  # by network
    trust: tuple[TrustPair, ...] = ()  # networks beside each other, on what `runs` holds of single images
