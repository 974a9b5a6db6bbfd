"""Which copies the audit's page shows, side by side. In: an audit; its pack is read. Out: pairs of photographs.

What changes a score comes first: two labels, then leaks into the test part. Among these, and among the others, the
least alike come first, since there a wrong pair would stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lentigo.data.audit import Audit
from lentigo.data.duplicates import Twins
from lentigo.data.table import LABEL_NAMES
from lentigo.report.pieces import Photograph, photograph

MAX_EXACT, MAX_NEAR = 6, 24
KEPT_FOR_OTHERS = 8  # of MAX_NEAR, for pairs that are neither leak nor conflict, however many of those there are
PAIR_PX = 200


@dataclass(frozen=True, kw_only=True)
class PairImage:
    """One of two images that are one photograph."""

    id: str
    label: str
    part: str  # of the split; empty where the audit names none, since the image is in no leak
    source: str
    photograph: Photograph


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images that are one photograph."""

    images: tuple[PairImage, PairImage]
    likeness: float
    change: str  # what makes the second of the first; empty for the same pixels
    others: tuple[str, ...]  # ids of further images with the same pixels
    two_labels: bool
    leak: bool  # into the test part


def exact_pairs(audit: Audit) -> list[Pair]:
    """Two images of each group with the same pixels, at most MAX_EXACT groups.

    Raises: DataError: the pack is damaged.
    """
    facts = _Facts(audit)
    place = {name: index for index, name in enumerate(audit.readable.pack.ids)}
    found = []
    for group in audit.exact_groups:
        indices = [place[name] for name in group]
        one, other = indices[0], facts.telling(indices)
        others = tuple(name for name in group if place[name] not in (one, other))
        found.append((Twins(one=one, other=other, likeness=1.0, change=""), others))
    found.sort(key=lambda item: facts.weight(item[0]))
    return [_pair(facts, twins, others) for twins, others in found[:MAX_EXACT]]


def near_pairs(audit: Audit) -> list[Pair]:
    """At most MAX_NEAR near pairs; KEPT_FOR_OTHERS of them harm no score, if there are so many.

    Raises: DataError: the pack is damaged.
    """
    facts = _Facts(audit)
    ordered = sorted(audit.near_pairs, key=lambda twins: (facts.weight(twins), twins.likeness))
    urgent = [twins for twins in ordered if facts.two_labels(twins) or facts.leak(twins)]
    rest = ordered[len(urgent) :]
    shown = urgent[: MAX_NEAR - min(len(rest), KEPT_FOR_OTHERS)]
    shown += rest[: MAX_NEAR - len(shown)]
    return [_pair(facts, twins, ()) for twins in shown]


class _Facts:
    """What is known of the images at positions in the pack."""

    def __init__(self, audit: Audit) -> None:
        self.audit, self.rows = audit, audit.readable.table.rows
        self.parts = {name: part for leak in audit.leaks for name, part in zip(leak.images, leak.parts, strict=True)}

    def part(self, index: int) -> str:
        return self.parts.get(self.rows[index].id, "")

    def two_labels(self, twins: Twins) -> bool:
        return self.rows[twins.one].label != self.rows[twins.other].label

    def leak(self, twins: Twins) -> bool:
        parts = {self.part(twins.one), self.part(twins.other)}
        return len(parts) == 2 and "test" in parts and "" not in parts

    def weight(self, twins: Twins) -> int:
        return 0 if self.two_labels(twins) else 1 if self.leak(twins) else 2

    def telling(self, indices: Sequence[int]) -> int:
        """Of a group's images the one that says most beside the first: of another label, or another part."""
        pairs = [Twins(one=indices[0], other=other, likeness=1.0, change="") for other in indices[1:]]
        return min(pairs, key=self.weight).other


def _pair(facts: _Facts, twins: Twins, others: tuple[str, ...]) -> Pair:
    return Pair(
        images=(_image(facts, twins.one), _image(facts, twins.other)),
        likeness=twins.likeness,
        change=twins.change,
        others=others,
        two_labels=facts.two_labels(twins),
        leak=facts.leak(twins),
    )


def _image(facts: _Facts, index: int) -> PairImage:
    row = facts.rows[index]
    return PairImage(
        id=row.id,
        label=LABEL_NAMES[row.label],
        part=facts.part(index),
        source=row.source,
        photograph=photograph(facts.audit.readable.pack.read([index])[0], max_px=PAIR_PX),
    )
