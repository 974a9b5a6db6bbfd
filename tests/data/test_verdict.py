"""The verdict on made-up audits: how grave each finding is, its words for one and for many, order, the sentence."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lentigo.data.audit import Against, Audit, LabelConflict, Leak, SourceCount
from lentigo.data.inspection import KINDS, FileFinding
from lentigo.data.pack import ReadablePack
from lentigo.data.shortcuts import Probe
from lentigo.data.verdict import STRONG, Verdict, verdict_on
from lentigo.files import read_json, write_json
from tests.data.pictures import noise, packed

Make = Callable[..., Audit]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of 1,200 images that found nothing."""
    table, pack = packed(tmp_path_factory.mktemp("clean"), noise(2), [0, 1])
    return Audit(
        data="mine", n_images=1200, counts={"benign": 700, "malignant": 500}, split="folders", n_test=1000, files=(),
        exact_groups=(), byte_groups=0, near_groups=(), near_pairs=(), leaks=(), label_conflicts=(), probes=(),
        sources=(), source_accuracy=math.nan, against=None, fingerprint="",
        readable=ReadablePack(pack=pack, table=table, failures={}),
    )  # fmt: skip


@pytest.fixture
def audit(clean: Audit) -> Make:
    return lambda **found: replace(clean, **found)


def probe(name: str = "frame", *, low: float = 0.9, **given: Any) -> Probe:
    values: dict[str, Any] = {
        "title": name.capitalize(), "seen": "a part", "sees_lesion": False, "n_images": 1200, "n_features": 3,
        "auc": low + 0.05, "low": low, "high": low + 0.1, "p_value": 0.001, "called": True, "lesion_share": 0.0,
        "test_auc": 0.9, "test_low": 0.8, "test_high": 0.95, "test_accuracy": 0.8, "n_test": 1000, "within": {},
        "test_logits": {}, "not_run": "", "meaning": f"What {name} tells.",
    }  # fmt: skip
    return Probe(name=name, **(values | given))


def leak(*parts: str, kind: str = "duplicate") -> Leak:
    return Leak(kind=kind, images=tuple(f"{index}.jpg" for index in range(len(parts))), parts=parts)


def source(name: str, benign: int, malignant: int) -> SourceCount:
    return SourceCount(name=name, benign=benign, malignant=malignant, test_benign=0, test_malignant=0)


def files(kind: str, *names: str) -> tuple[FileFinding, ...]:
    return tuple(FileFinding(id=name, kind=kind, message="is wrong") for name in names)


def found(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.kind, finding.text) for finding in verdict.findings]


# ---------------------------------------------------------------- each finding, for one and for many


def test_nothing_found(audit: Make) -> None:
    verdict = verdict_on(audit())
    assert (verdict.level, verdict.findings) == ("note", ())
    assert verdict.sentence == (
        "Nothing was found that would make a score on these data worthless. What was not looked for may still be there."
    )


@pytest.mark.parametrize(
    ("given", "severity"),
    [
        ({"low": STRONG + 0.001}, "serious"),
        ({"low": STRONG}, "warning"),
        ({"low": 0.56}, "warning"),
        ({"low": 0.99, "sees_lesion": True}, "note"),
    ],
)
def test_a_called_probe(audit: Make, given: dict[str, Any], severity: str) -> None:
    verdict = verdict_on(audit(probes=(probe(**given),)))
    assert found(verdict) == [(severity, "shortcut", "Frame. What frame tells.")]
    assert verdict.level == severity


def test_a_probe_that_is_not_called_is_no_finding(audit: Make) -> None:
    not_run = probe("corners", low=math.nan, called=False, not_run="no mask")
    assert verdict_on(audit(probes=(probe(called=False, low=0.54), not_run))).findings == ()


def test_a_probe_that_may_be_a_shortcut_is_a_warning(audit: Make) -> None:
    assert found(verdict_on(audit(probes=(probe(called=False, low=0.56),)))) == [
        ("warning", "shortcut", "Frame. What frame tells.")
    ]


def test_an_audit_that_could_not_probe_says_so(audit: Make) -> None:
    verdict = verdict_on(audit(probes=(probe(low=math.nan, called=False, not_run="there are two images"),)))
    assert found(verdict) == [("warning", "unprobed", "Shortcuts. Nothing could be probed: there are two images.")]
    assert verdict.sentence == (
        "No shortcut could be looked for, so this audit cannot say what a score on these data is worth."
    )


MANY_LEAKS = (leak("test", "train"), leak("test", "test", "validation", "train"), leak("train", "validation"))


@pytest.mark.parametrize(
    ("leaks", "expected"),
    [
        (
            (leak("train", "test"),),
            [("serious", "1 test image of 1,000 has a copy of the same photograph outside the test part")],
        ),
        (
            MANY_LEAKS,
            [
                ("serious", "3 test images of 1,000 have a copy of the same photograph outside the test part"),
                ("warning", "1 validation image has a copy of the same photograph among the training images"),
            ],
        ),
        (
            (leak("test", "validation", kind="lesion"), leak("train", "validation", "validation", kind="patient")),
            [
                ("serious", "1 test image of 1,000 has another photo of the same lesion outside the test part"),
                ("warning", "2 validation images have a photo of the same patient among the training images"),
            ],
        ),
        (
            (leak("test", "train", kind="patient"), leak("test", "train", kind="lesion"), leak("test", "train")),
            [
                ("serious", "1 test image of 1,000 has a copy of the same photograph outside the test part"),
                ("serious", "1 test image of 1,000 has another photo of the same lesion outside the test part"),
                ("serious", "1 test image of 1,000 has a photo of the same patient outside the test part"),
            ],
        ),
    ],
)
def test_leaks(audit: Make, leaks: tuple[Leak, ...], expected: list[tuple[str, str]]) -> None:
    verdict = verdict_on(audit(leaks=leaks))
    assert found(verdict) == [(severity, "leak", f"Leaks. {text}.") for severity, text in expected]


def test_without_a_split_leaks_were_not_looked_for(audit: Make) -> None:
    verdict = verdict_on(audit(split="", n_test=0))
    assert [(finding.severity, finding.kind) for finding in verdict.findings] == [("note", "leak")]
    assert verdict.findings[0].text.startswith("Leaks. No split was given")


def test_label_conflicts_name_an_image_of_either_label(audit: Make) -> None:
    copies = LabelConflict(kind="duplicate", images=("a", "b", "c"), labels=(1, 1, 0))
    lesion = LabelConflict(kind="lesion", images=("d", "e"), labels=(0, 1))
    assert found(verdict_on(audit(label_conflicts=(copies, lesion, lesion)))) == [
        (
            "serious", "label",
            "Labels. 1 group of images is of one photograph and called both benign and malignant, first c and a.",
        ),
        (
            "serious", "label",
            "Labels. 2 groups of images are of one lesion and called both benign and malignant, first d and e.",
        ),
    ]  # fmt: skip


FILES = {
    "unreadable": (
        "1 image cannot be read and took no part in what follows",
        "2 images cannot be read and took no part in what follows",
    ),
    "wrong_suffix": (
        "1 image has a name that claims another format than the file's",
        "2 images have a name that claims another format than the file's",
    ),
    "odd_size": ("1 image has an unusual size or shape", "2 images have an unusual size or shape"),
    "odd_mode": ("1 image is not stored as 8-bit RGB", "2 images are not stored as 8-bit RGB"),
    "orientation": (
        "1 image is stored turned or mirrored, with a note to undo it (EXIF orientation)",
        "2 images are stored turned or mirrored, with a note to undo it (EXIF orientation)",
    ),
    "blank": ("1 image is of one colour all over", "2 images are of one colour all over"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_each_kind(audit: Make, kind: str) -> None:
    one, two = FILES[kind]
    assert found(verdict_on(audit(files=files(kind, "x.jpg")))) == [("warning", "file", f"Files. {one}, first x.jpg.")]
    assert found(verdict_on(audit(files=files(kind, "w.jpg", "x.jpg")))) == [
        ("warning", "file", f"Files. {two}, first w.jpg.")
    ]


@pytest.mark.parametrize(
    ("exact", "near", "expected"),
    [
        ((("a", "b"),), (), "1 image repeats the pixels of another one; 0 images stand in 0 groups of near copies"),
        (
            (("a", "b", "c"), ("d", "e")), (("f", "g"),),
            "3 images repeat the pixels of another one; 2 images stand in 1 group of near copies",
        ),
        (
            (), (("f", "g", "h"), ("i", "j")),
            "0 images repeat the pixels of another one; 5 images stand in 2 groups of near copies",
        ),
    ],
)  # fmt: skip
def test_copies(audit: Make, exact: tuple[Any, ...], near: tuple[Any, ...], expected: str) -> None:
    ((severity, kind, text),) = found(verdict_on(audit(exact_groups=exact, near_groups=near)))
    assert (severity, kind) == ("note", "copy")
    assert text == f"Copies. {expected} (encoded anew, cut, turned, or photographed a second time)."


@pytest.mark.parametrize(
    ("shared", "conflicts", "severity", "expected"),
    [
        (0, 0, "note", "No image is also in theirs."),
        (1, 0, "warning", "1 image of 1,200 is also in theirs: whoever trains on one and tests on the other must leave "
         "it out."),
        (1, 1, "warning", "1 image of 1,200 is also in theirs, with another label there: whoever trains on one and "
         "tests on the other must leave it out."),
        (1113, 2, "warning", "1,113 images of 1,200 are also in theirs, 2 of them with another label there: whoever "
         "trains on one and tests on the other must leave them out."),
    ],
)  # fmt: skip
def test_other_data(audit: Make, shared: int, conflicts: int, severity: str, expected: str) -> None:
    other = Against(data="theirs", n_images=9000, shared=shared, conflicts=conflicts, pairs=())
    assert found(verdict_on(audit(against=other))) == [(severity, "against", f"Other data. {expected}")]


@pytest.mark.parametrize(
    ("sources", "accuracy", "split", "expected"),
    [
        ((source("a", 3, 4), source("b", 1, 1)), 0.6, "folders", None),
        ((), math.nan, "folders", None),
        (
            (source("a", 9, 0), source("b", 3, 4), source("c", 0, 5), source("d", 1, 1)), 0.9157, "folders",
            "a, c hold one class only; knowing the source alone is right in 0.916 of the cases on the test images: "
            "a score across sources is a score on sources, and only within b or d can it be about moles, where it is "
            "clearly above the probes'.",
        ),
        (
            (source("a", 9, 0), source("b", 0, 4)), 1.0, "",
            "a, b hold one class only; knowing the source alone is right in 1.000 of the cases on all images: "
            "no source holds both, so no score here can be about moles.",
        ),
        (
            (source("", 9, 0), source("b", 3, 4)), math.nan, "folders",
            "unknown holds one class only: a score across sources is a score on sources, and only within b can it be "
            "about moles, where it is clearly above the probes'.",
        ),
    ],
)  # fmt: skip
def test_sources(
    audit: Make, sources: tuple[SourceCount, ...], accuracy: float, split: str, expected: str | None
) -> None:
    verdict = verdict_on(audit(sources=sources, source_accuracy=accuracy, split=split))
    told = [item for item in found(verdict) if item[1] == "source"]
    assert told == ([] if expected is None else [("warning", "source", f"Sources. {expected}")])


# ---------------------------------------------------------------- all together


CONFLICT = LabelConflict(kind="duplicate", images=("a", "b"), labels=(0, 1))
EVERYTHING: dict[str, Any] = {
    "probes": (probe(low=0.8), probe("corners", low=0.6), probe("colour", low=0.99, sees_lesion=True)),
    "sources": (source("a", 9, 0), source("b", 3, 4)),
    "leaks": MANY_LEAKS,
    "label_conflicts": (CONFLICT,),
    "files": (*files("blank", "x.jpg"), *files("unreadable", "y.jpg")),
    "exact_groups": (("a", "b"),),
    "against": Against(data="theirs", n_images=9, shared=1, conflicts=0, pairs=()),
}


def test_the_gravest_stand_first(audit: Make) -> None:
    verdict = verdict_on(audit(**EVERYTHING))
    assert [(finding.severity, finding.kind) for finding in verdict.findings] == [
        ("serious", "shortcut"), ("serious", "leak"), ("serious", "label"),
        ("warning", "shortcut"), ("warning", "source"), ("warning", "leak"), ("warning", "file"), ("warning", "file"),
        ("warning", "against"),
        ("note", "shortcut"), ("note", "copy"),
    ]  # fmt: skip


def test_every_text_is_a_plain_sentence_or_two(audit: Make) -> None:
    for finding in verdict_on(audit(**EVERYTHING)).findings:
        assert re.fullmatch(r"[A-Z][a-z ]+\. .+[^.]\.", finding.text), finding.text
        rest = finding.text.partition(". ")[2]  # after the title
        assert len(re.findall(r"\. [A-Z]", rest)) < 2, finding.text
        assert not re.search(r"\b1 (images|test images|validation images|groups)\b|  |\bnan\b|None", finding.text)


@pytest.mark.parametrize(
    ("left_out", "level", "sentence"),
    [
        (
            (), "serious",
            "A score on these data is no evidence about moles by itself: an AUC of 0.85 can be had without one in "
            "view (frame).",
        ),
        (
            ("probes",), "serious",
            "A score on these data is too good by what the test images share with the training images.",
        ),
        (
            ("probes", "leaks"), "serious",
            "A score on these data rests on labels that contradict each other.",
        ),
        (
            ("probes", "leaks", "label_conflicts"), "warning",
            "Nothing was found that makes a score worthless; the warnings should be read first.",
        ),
        (
            ("probes", "leaks", "label_conflicts", "sources", "files", "against"), "note",
            "Nothing was found that would make a score on these data worthless. What was not looked for may still be "
            "there.",
        ),
    ],
)  # fmt: skip
def test_one_sentence_for_all(audit: Make, left_out: tuple[str, ...], level: str, sentence: str) -> None:
    verdict = verdict_on(audit(**{name: value for name, value in EVERYTHING.items() if name not in left_out}))
    assert (verdict.level, verdict.sentence) == (level, sentence)


def test_the_sentence_names_the_surest_shortcut(audit: Make) -> None:
    """By the lower bound; none that sees the lesion, is not called, or may belong to the disease, as the body site."""
    probes = (
        probe("frame", low=0.7),
        probe("site", low=0.8, title="Body site"),
        probe("source", low=0.68, auc=0.99),
        probe("thumbnail", low=0.97, sees_lesion=True),
        probe("corners", low=0.97, called=False),
    )
    assert verdict_on(audit(probes=probes)).sentence.endswith("AUC of 0.75 can be had without one in view (frame).")


def test_verdict_as_json(audit: Make, tmp_path: Path) -> None:
    verdict = verdict_on(audit(label_conflicts=(CONFLICT,)))
    write_json(tmp_path / "verdict.json", verdict.to_dict())
    assert read_json(tmp_path / "verdict.json") == {
        "level": "serious",
        "sentence": "A score on these data rests on labels that contradict each other.",
        "findings": [{"severity": "serious", "kind": "label", "text": verdict.findings[0].text}],
    }
