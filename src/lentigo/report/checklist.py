"""Reporting checklists: facts about a report in, a status for each item of TRIPOD+AI and CLAIM out.

No status is written by hand: each is computed by the item's rule from what the report holds. A report by lentigo is
not a paper, so that much is left to its authors, and is said to be.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lentigo.report.checklist_facts import STATUSES, Facts, Status
from lentigo.report.checklist_items import RECORDS

__all__ = ["STATUSES", "Facts", "Item", "Status", "checklist", "counts", "on_page"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of a checklist, and how far the report answers it."""

    guideline: str  # a key of `checklist_items.SOURCES`
    number: str  # as published, such as 12a
    name: str  # a few words of ours; the item's own text stands in the published checklist
    status: Status
    sections: tuple[str, ...]  # ids of the report's sections that hold the answer, or a part of it
    text: str  # what stands there, what is left and to whom, or what to do

    @property
    def where(self) -> str:
        """Sections and text in one line, such as "run: images of each part and class"."""
        return f"{', '.join(self.sections)}: {self.text}" if self.sections else self.text


def checklist(facts: Facts) -> tuple[Item, ...]:
    """Every item of both checklists, in their order.

    Args:
        facts: what the report holds.
    Source: see `checklist_items.SOURCES`.
    """
    found = []
    for record in RECORDS:
        answer = record.rule(facts)
        found.append(
            Item(
                guideline=record.guideline,
                number=record.number,
                name=record.name,
                status=answer.status,
                sections=answer.sections,
                text=answer.text,
            )
        )
    return tuple(found)


def on_page(items: Iterable[Item], sections: Iterable[str]) -> tuple[Item, ...]:
    """The items as a page without some of the report's sections answers them.

    Only sections of the page are named; an item of which the page holds nothing is left to the authors.

    Args:
        sections: ids of the page's sections.
    """
    there, found = set(sections), []
    for item in items:
        kept = tuple(section for section in item.sections if section in there)
        if item.sections and not kept:
            left = item.text.partition("still open: ")[2] or item.name
            found.append(replace(item, status="person", sections=(), text=f"authors: {left}"))
        else:
            found.append(replace(item, sections=kept))
    return tuple(found)


def counts(items: Iterable[Item]) -> dict[str, dict[Status, int]]:
    """How many items of each guideline have each status; a status that none has is counted 0."""
    items = tuple(items)
    found = Counter((item.guideline, item.status) for item in items)
    guidelines = dict.fromkeys(item.guideline for item in items)
    return {name: {status: found[name, status] for status in STATUSES} for name in guidelines}
