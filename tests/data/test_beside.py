"""The best shortcut beside a network's score: chosen and told by hand, kept and found again."""

from pathlib import Path
from typing import Any

import pytest

from lentigo.data import beside
from lentigo.data.beside import best_shortcut, lines_beside, probes_beside, what_follows
from lentigo.data.pack import pack_images
from lentigo.data.split import Split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.evidence.intervals import Interval
from lentigo.files import read_json, write_json
from tests.data.pictures import noise, packed


def probe(
    name: str, auc: float | None, test_auc: float | None, *, called: bool = True, **changes: Any
) -> dict[str, Any]:
    return {
        "name": name, "title": name.title(), "called": called, "auc": auc, "low": auc and auc - 0.1,
        "high": auc and auc + 0.1, "test_auc": test_auc, "test_low": test_auc and test_auc - 0.02,
        "test_high": test_auc and test_auc + 0.02, "test_accuracy": test_auc, "within": {},
    } | changes  # fmt: skip


def test_the_best_is_a_pixel_probe_by_its_test_score() -> None:
    probes = {
        "frame": probe("frame", 0.7, 0.9), "corners": probe("corners", 0.8, 0.8), "source": probe("source", 1.0, 1.0),
        "thumbnail": probe("thumbnail", 1.0, 1.0),
    }  # fmt: skip
    best = best_shortcut(probes)
    assert best is not None
    assert (best.name, best.auc.value, best.fitted) == ("frame", 0.9, True)
    untested = {name: value | {"test_auc": None} for name, value in probes.items()}
    best = best_shortcut(untested)
    assert best is not None
    assert (best.name, best.auc, best.fitted) == ("corners", Interval(0.8, 0.7000000000000001, 0.9), False)
    assert best_shortcut({"source": probe("source", 1.0, 1.0)}) is None
    assert best_shortcut({"frame": probe("frame", None, None)}) is None


def test_lines_of_a_network_that_a_frame_equals() -> None:
    within = {"a": {"auc": 0.6, "low": 0.5, "high": 0.7, "accuracy": 0.55, "n": 80, "n_malignant": 20}}
    metrics = {"auc": 0.95, "auc_low": 0.94, "auc_high": 0.96, "within_sources": within}
    frame = probe("frame", 0.9, 0.96, within={"a": {"auc": 0.7, "low": 0.6, "high": 0.8}})
    assert lines_beside(metrics, {"frame": frame}) == [
        "within a: AUC 0.600 (0.500 to 0.700), accuracy 0.550 on 80 images, 20 malignant",
        "beside it: Frame, with next to nothing of the lesion in view: AUC 0.960 (0.940 to 0.980) on the same images, "
        "0.700 (0.600 to 0.800) within a",
        "The label can be told about as well from the frame alone, with next to nothing of the mole in view: this "
        "score is no evidence that the network recognises a malignant one. Within a, where both classes come from one "
        "archive, the network reaches 0.600 and the frame 0.700: no clear difference.",
    ]
    assert lines_beside(metrics | {"within_sources": {}}, {}) == []


def test_what_follows_is_never_that_a_network_sees_the_mole() -> None:
    weaker = best_shortcut({"frame": probe("frame", 0.7, 0.7)})
    none = best_shortcut({"frame": probe("frame", 0.52, 0.55, called=False)})
    assert weaker is not None
    assert none is not None
    score = Interval(0.9, 0.88, 0.92)
    assert what_follows(score, weaker).startswith("The score is above that of the frame alone (0.700), but how much")
    assert what_follows(score, none) == (
        "No probe of the picture around the lesion tells the label beyond doubt; the best of them, frame, "
        "reaches 0.550."
    )


def test_probes_are_kept_by_their_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_table(write_dataset(tmp_path / "d", count=40, size_px=64, seed=1, workers=1))
    pack = pack_images(table, image_px=64, cache=tmp_path / "cache")
    split = Split({row.id: row.split for row in table.rows})
    told: list[int] = []
    first = probes_beside(tmp_path / "run", table, pack, split, progress=told.append)
    assert sum(told) == 40
    assert first["frame"]["n_test"] == 10
    assert first["file_header"]["not_run"] == "no file was inspected"
    real, calls = beside.run_probes, []
    monkeypatch.setattr(beside, "run_probes", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    assert probes_beside(tmp_path / "run", table, pack, split) == first
    written = read_json(tmp_path / "run" / "shortcuts.json")
    assert written["fingerprint"] == f"light {beside.fingerprint(table, pack, split)}"
    write_json(tmp_path / "audit.json", written | {"fingerprint": written["fingerprint"].removeprefix("light ")})
    assert probes_beside(tmp_path / "other", table, pack, split, audit=tmp_path / "audit.json") == first
    assert not (tmp_path / "other").exists()
    assert not calls
    assert probes_beside(tmp_path / "run", table, pack, None)["frame"]["test_auc"] is None
    assert len(calls) == 1


def test_a_score_out_of_folds_does_not_beat_one_on_the_test_images() -> None:
    """As when only training images have masks: what lies beside them is not the test's."""
    best = best_shortcut({"frame": probe("frame", 0.8, 0.7), "outside_mask": probe("outside_mask", 0.99, None)})
    assert best is not None
    assert (best.name, best.fitted) == ("frame", True)


def test_the_skin_beside_the_lesion_has_a_name_that_reads_on() -> None:
    skin = best_shortcut({"outside_mask": probe("outside_mask", 0.9, 0.9, title="Beside the lesion")})
    assert skin is not None
    assert what_follows(Interval(0.9, 0.9, 0.9), skin).startswith(
        "The label can be told about as well from the skin beside the lesion alone, with next to nothing of the "
        "mole in view:"
    )
    assert what_follows(Interval(0.95, 0.91, 0.97), skin) == (
        "The score is above that of the skin beside the lesion alone (0.900), but how much of it the network takes "
        "from there is not known."
    )


def test_lines_without_a_test_part_or_a_defined_score() -> None:
    metrics = {"auc": None, "auc_low": None, "auc_high": None, "within_sources": {}}
    frame = probe("frame", 0.9, None, test_accuracy=None)
    assert lines_beside(metrics, {"frame": frame}) == [
        "beside it: Frame, with next to nothing of the lesion in view: AUC 0.900 (0.800 to 1.000) out of folds of the "
        "same images"
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"probes": {}}', '{"fingerprint": "of other images", "probes": {}}'])
def test_kept_probes_of_other_images_or_damaged_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    table, pack = packed(tmp_path, noise(4), [0, 1, 0, 1])
    calls: list[int] = []
    monkeypatch.setattr(beside, "run_probes", lambda *_, **__: calls.append(1) or ())
    for path in (tmp_path / "run" / "shortcuts.json", tmp_path / "audit.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert probes_beside(tmp_path / "run", table, pack, None, audit=tmp_path / "audit.json") == {}
    assert calls == [1]
    assert read_json(tmp_path / "run" / "shortcuts.json") == {
        "fingerprint": f"light {beside.fingerprint(table, pack, None)}", "probes": {}
    }  # fmt: skip
    assert (tmp_path / "audit.json").read_text() == content


def test_a_called_probe_stands_before_one_that_chance_lifted_above_it() -> None:
    probes = {"frame": probe("frame", 0.6, 0.598), "corners": probe("corners", 0.6, 0.6, called=False)}
    best = best_shortcut(probes)
    assert best is not None
    assert best.name == "frame"


def test_within_a_source_only_a_clear_difference_counts() -> None:
    frame = best_shortcut({"frame": probe("frame", 0.9, 0.7, within={"a": {"auc": 0.7, "low": 0.6, "high": 0.8}})})
    assert frame is not None
    score = Interval(0.9, 0.88, 0.92)
    clear = what_follows(score, frame, within={"a": Interval(0.9, 0.81, 0.95), "b": Interval(0.9, 0.8, 0.95)})
    assert clear.endswith("the network reaches 0.900 and the frame 0.700: more than chance explains.")
    assert "Within b" not in clear
    assert what_follows(score, frame, within={"a": Interval(0.9, 0.8, 0.95)}).endswith("no clear difference.")
