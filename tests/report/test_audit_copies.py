"""Which copies the page shows: what changes a score first, then what is least alike, and how many are left out."""

from pathlib import Path

import pytest

from lentigo.data.duplicates import Twins
from lentigo.report.audit_copies import KEPT_FOR_OTHERS, MAX_EXACT, MAX_NEAR, Pair, exact_pairs, near_pairs
from tests.report.made_up_audit import audit_of, leak, name


def twins(one: int, other: int, likeness: float) -> Twins:
    return Twins(one=one, other=other, likeness=likeness, change="mirrored")


def shown(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.images[0].id, pair.images[1].id) for pair in pairs]


def named(*pairs: tuple[int, int]) -> list[tuple[str, str]]:
    return [(name(one), name(other)) for one, other in pairs]


def test_two_labels_then_leaks_into_test_then_the_least_alike(tmp_path: Path) -> None:
    audit = audit_of(
        tmp_path,
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        near_pairs=(
            twins(0, 1, 0.9), twins(2, 3, 0.5), twins(4, 5, 0.8), twins(6, 7, 0.7), twins(8, 9, 0.99),
            twins(10, 11, 0.4),
        ),
        leaks=(
            leak((4, "test"), (5, "train")),
            leak((6, "validation"), (7, "test")),
            leak((10, "train"), (11, "validation")),  # does not reach the test part
        ),
    )  # fmt: skip
    pairs = near_pairs(audit)
    assert shown(pairs) == named((8, 9), (6, 7), (4, 5), (10, 11), (2, 3), (0, 1))
    assert [pair.two_labels for pair in pairs] == [True, False, False, False, False, False]
    assert [pair.leak for pair in pairs] == [False, True, True, False, False, False]
    assert [image.part for image in pairs[1].images] == ["validation", "test"]
    assert [image.part for image in pairs[4].images] == ["", ""]
    assert [image.label for image in pairs[0].images] == ["malignant", "benign"]


def test_a_pair_within_a_leaking_group_is_no_leak_itself(tmp_path: Path) -> None:
    group = leak((0, "test"), (1, "train"), (2, "train"))
    audit = audit_of(tmp_path, [0, 0, 0, 1], near_pairs=(twins(0, 1, 0.9), twins(1, 2, 0.5)), leaks=(group,))
    assert [(pair.leak, pair.likeness) for pair in near_pairs(audit)] == [(True, 0.9), (False, 0.5)]


@pytest.mark.parametrize(
    ("urgent", "others", "urgent_shown", "others_shown"),
    [
        (40, 40, MAX_NEAR - KEPT_FOR_OTHERS, KEPT_FOR_OTHERS),
        (40, 3, MAX_NEAR - 3, 3),
        (5, 40, 5, MAX_NEAR - 5),
        (40, 0, MAX_NEAR, 0),
        (2, 2, 2, 2),
    ],
)
def test_places_are_kept_for_pairs_that_harm_no_score(
    tmp_path: Path, urgent: int, others: int, urgent_shown: int, others_shown: int
) -> None:
    labels = [0] * 10 + [1]
    conflicts = tuple(twins(i % 10, 10, 0.5 + i / 1000) for i in range(urgent))
    harmless = tuple(twins(i % 9, 9, 0.4 + i / 1000) for i in range(others))
    pairs = near_pairs(audit_of(tmp_path, labels, near_pairs=harmless + conflicts))
    assert [pair.two_labels for pair in pairs] == [True] * urgent_shown + [False] * others_shown
    for part in (pairs[:urgent_shown], pairs[urgent_shown:]):
        assert [pair.likeness for pair in part] == sorted(pair.likeness for pair in part)


def test_of_an_exact_group_the_telling_pair_is_shown(tmp_path: Path) -> None:
    audit = audit_of(
        tmp_path,
        [0, 0, 0, 0, 0, 1, 0, 0, 0],
        exact_groups=((name(0), name(1)), (name(2), name(3), name(4)), (name(6), name(7), name(5), name(8))),
        leaks=(leak((2, "train"), (3, "train"), (4, "test")),),
    )
    pairs = exact_pairs(audit)
    assert shown(pairs) == named((6, 5), (2, 4), (0, 1))
    assert [pair.others for pair in pairs] == [(name(7), name(8)), (name(3),), ()]
    assert [(pair.two_labels, pair.leak) for pair in pairs] == [(True, False), (False, True), (False, False)]
    assert {pair.change for pair in pairs} == {""}


def test_only_the_first_exact_groups_are_shown(tmp_path: Path) -> None:
    groups = tuple((name(2 * i), name(2 * i + 1)) for i in range(MAX_EXACT + 3))
    audit = audit_of(tmp_path, [0] * (2 * len(groups)) + [1], exact_groups=groups)
    assert shown(exact_pairs(audit)) == [tuple(group) for group in groups[:MAX_EXACT]]
