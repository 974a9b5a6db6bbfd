"""Groups: by hand, and against sets that are merged for as long as a link touches two of them."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from lentigo.data.groups import joined, numbered
from tests import reference

relaxed = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@st.composite
def linked(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    size = draw(st.integers(1, 14))
    return size, draw(st.lists(st.lists(st.integers(0, size - 1), max_size=4), max_size=12))


def test_joined_by_hand() -> None:
    assert joined(7, [(5, 1), (3, 4), (6, 5)]) == [[1, 5, 6], [3, 4]]
    assert joined(5, [[4, 2, 0], [3]]) == [[0, 2, 4]]
    assert joined(3, []) == joined(0, []) == joined(2, [()]) == []


def test_numbered_by_hand() -> None:
    assert numbered(7, [(5, 1), (3, 4), (6, 5)]) == [0, 1, 2, 3, 3, 1, 1]
    assert numbered(4, [[3, 2], [2, 0, 3]]) == [0, 1, 0, 0]
    assert numbered(3, [[], [2], [1, 1]]) == [0, 1, 2]
    assert numbered(0, []) == []


@relaxed
@given(linked())
def test_joined_is_what_links_connect(links: tuple[int, list[list[int]]]) -> None:
    assert joined(*links) == reference.connected(*links)


@relaxed
@given(linked())
def test_numbers_are_those_of_the_groups(links: tuple[int, list[list[int]]]) -> None:
    numbers = numbered(*links)
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))  # in the order of each group's first
    together = [[i for i in range(links[0]) if numbers[i] == number] for number in range(len(set(numbers)))]
    assert [group for group in together if len(group) > 1] == joined(*links)


@relaxed
@given(linked(), st.randoms(use_true_random=False))
def test_order_of_links_changes_nothing(links: tuple[int, list[list[int]]], random: Random) -> None:
    size, given_links = links
    shuffled = [random.sample(link, len(link)) for link in given_links]
    random.shuffle(shuffled)
    assert numbered(size, shuffled) == numbered(size, given_links)
