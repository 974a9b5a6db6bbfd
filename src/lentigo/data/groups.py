"""Groups out of links: what is connected, directly or in a chain, is one group. Positions in, numbers or groups out."""

from collections import defaultdict
from collections.abc import Iterable, Sequence


def numbered(size: int, links: Iterable[Sequence[int]]) -> list[int]:
    """A group number for each of `size` positions.

    Args:
        links: positions below `size` that belong together, two or more each; fewer connect nothing.
    Returns: numbers from 0 on, in the order of each group's first position; what no link names is a group alone.
    """
    parent = list(range(size))
    for link in links:
        for index in link[1:]:
            low, high = sorted((_root(parent, link[0]), _root(parent, index)))
            parent[high] = low
    roots = [_root(parent, index) for index in range(size)]
    number = {root: position for position, root in enumerate(dict.fromkeys(roots))}
    return [number[root] for root in roots]


def joined(size: int, links: Iterable[Sequence[int]]) -> list[list[int]]:
    """The groups of two or more positions, each in order, in the order of their first; see `numbered`."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(numbered(size, links)):
        members[number].append(index)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
