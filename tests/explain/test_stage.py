"""The files of an explanation: what is in them; damaged or of different parts, they are refused with what to do."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lentigo.data.batches import preprocess_batch
from lentigo.data.masks import read_mask
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.explain import stage
from lentigo.explain.cam import grad_cam, hires_cam
from lentigo.explain.looks import MEASURES, Maps, compare_looks, measure
from lentigo.explain.stage import ExplainOptions, Explanation, explain_run, maps_file, read_explanation, read_maps
from lentigo.explain.survey import survey_images, survey_key
from lentigo.explain.trust import PARTS
from lentigo.files import read_csv, read_json
from lentigo.learn.checkpoint import run_checkpoint, save_checkpoint
from lentigo.learn.evaluation import network_of
from tests.data.pictures import write_mask
from tests.explain.runs import packed_moles, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    maps = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "heatmaps.npy", maps)
    (tmp_path / "explanation.json").write_text(json.dumps({"ids": ["a", "b"], "rows": 3, "columns": 4}))
    return tmp_path


def test_it_is_read_as_it_was_written(run: Path) -> None:
    explanation = read_explanation(run)
    assert explanation.ids == ("a", "b")
    assert explanation.maps[1, 2, 3] == 23
    assert explanation.maps.dtype == np.float32


def test_truncated_maps_are_refused(run: Path) -> None:
    data = (run / "heatmaps.npy").read_bytes()
    (run / "heatmaps.npy").write_bytes(data[:-8])
    with pytest.raises(DataError, match=r"heatmaps.npy cannot be read .*write it again with `lentigo explain`"):
        read_explanation(run)


def test_pickled_maps_are_refused_unread(run: Path) -> None:
    np.save(run / "heatmaps.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"heatmaps.npy cannot be read"):
        read_explanation(run)


def test_maps_of_another_explanation_are_refused(run: Path) -> None:
    np.save(run / "heatmaps.npy", np.zeros((3, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"does not fit explanation.json; write both again"):
        read_explanation(run)


@pytest.mark.parametrize(
    ("maps", "found"),
    [
        (np.zeros((2, 3, 4)), r"float64 of the shape \(2, 3, 4\)"),
        (np.zeros((2, 12), np.float32), r"float32 of the shape \(2, 12\)"),
    ],
)
def test_what_is_no_map_is_refused(run: Path, maps: np.ndarray, found: str) -> None:
    np.save(run / "heatmaps.npy", maps)
    with pytest.raises(DataError, match=rf"heatmaps.npy holds {found}, not float32 maps \(image, rows, columns\); "):
        read_explanation(run)


def test_an_absent_explanation_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"explanation.json does not exist; run the stage that writes it"):
        read_explanation(tmp_path)


# ---------------------------------------------------------------- a run explained


N, TEST = 12, (1, 3, 4, 6, 9, 10)  # moles, and those of the test part


@dataclass(frozen=True)
class Made:
    """A run, its data, and what was explained."""

    run: Path
    table: ImageTable
    pack: ImagePack
    split: Split
    explanation: Explanation

    @property
    def test(self) -> tuple[ImageTable, ImagePack]:
        return self.table.subset(TEST), self.pack.subset(TEST)


def split_of(table: ImageTable, test: tuple[int, ...]) -> Split:
    return Split({name: "test" if k in test else "train" for k, name in enumerate(table.ids)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Moles with masks, but for one test image whose mask is empty; every lesion was photographed twice."""
    folder = tmp_path_factory.mktemp("explained")
    lesion = [f"L{k // 2}" for k in range(N)]
    table, pack, lesions = packed_moles(folder, N, source=["a", "b"] * (N // 2), lesion=lesion)
    write_mask(Path(table.rows[4].mask), np.zeros_like(lesions[4]))
    run, split = write_run(folder / "run"), split_of(table, TEST)
    options = ExplainOptions(methods=("hires_cam", "grad_cam"), sample=3, seed=5)
    found = explain_run(run, table, pack, split, options=options, cache=folder / "cache")
    return Made(run, table, pack, split, found)


def test_every_file_is_written(made: Made) -> None:
    names = {path.name for path in made.run.iterdir()}
    assert names == {
        *("experiment.toml", "checkpoint.safetensors"),
        *("heatmaps.npy", "heatmaps-hires-cam.npy", "localisation.csv", "explanation.json"),
    }
    assert [maps_file(made.run, name).name for name in ("grad_cam", "hires_cam")] == [
        "heatmaps.npy",
        "heatmaps-hires-cam.npy",
    ]


@pytest.mark.parametrize(("name", "method"), [("grad_cam", grad_cam), ("hires_cam", hires_cam)])
def test_maps_are_the_method_s_own(made: Made, name: str, method: Any) -> None:
    checkpoint = run_checkpoint(made.run)
    _, pack = made.test
    images = torch.from_numpy(pack.read(range(len(TEST)))).permute(0, 3, 1, 2)
    wanted = method(checkpoint.model, preprocess_batch(images, checkpoint.preprocessing)).signed()
    found = read_maps(made.run, name)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-7)
    assert found.min() < -1e-3 < 1e-3 < found.max()


def test_maps_stay_in_their_file(made: Made) -> None:
    explanation = read_explanation(made.run)
    assert isinstance(explanation.maps, np.memmap)
    assert isinstance(read_maps(made.run, "hires_cam"), np.memmap)
    assert explanation.ids == made.explanation.ids == tuple(made.table.ids[k] for k in TEST)
    np.testing.assert_array_equal(explanation.maps, made.explanation.maps)
    np.testing.assert_array_equal(explanation.maps, np.load(made.run / "heatmaps.npy"))


def test_many_batches_are_written_as_one(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_BATCH", 4)
    done: list[int] = []
    stage._write_maps(tmp_path / "maps.npy", "grad_cam", run_checkpoint(made.run), made.pack, None, done.append)
    maps = np.load(tmp_path / "maps.npy")
    assert done == [4, 4, 4]
    assert maps.shape == (N, *made.explanation.maps.shape[1:])
    np.testing.assert_allclose(maps[list(TEST)], made.explanation.maps, atol=1e-6)


def test_the_json_says_what_the_maps_are(made: Made) -> None:
    about, maps = made.explanation.about, np.asarray(made.explanation.maps)
    assert (about["rows"], about["columns"], about["images"]) == (*maps.shape[1:], len(TEST))
    assert about["scale"] == pytest.approx(np.quantile(np.abs(maps).max(axis=(1, 2)), 0.95))
    assert about["empty_for_malignant"] == int((maps <= 0).all(axis=(1, 2)).sum())
    assert about["empty_for_benign"] == int((maps >= 0).all(axis=(1, 2)).sum())
    assert about["other_methods"] == ["hires_cam"]
    assert (about["layer"], about["segmenter"]) == ("features", "")
    assert about["checkpoint"] == network_of(made.run)
    assert about["survey"] == survey_key(*made.test)
    assert about["method"].startswith("Grad-CAM (Selvaraju et al. 2017, doi:")
    assert about["faithfulness"]["images"] == 3
    assert about["faithfulness"]["seed"] == 5
    assert (about["background"]["images"], about["background"]["left_out"]) == (5, 1)
    kept = read_json(made.run / "explanation.json")
    assert list(kept) == list(about)
    assert kept["look"]["masks"] == {"expert": 5, "expert, empty": 1}
    assert kept["ids"] == [made.table.ids[k] for k in TEST]


def test_the_table_holds_every_image_s_measures(made: Made) -> None:
    table, pack = made.test
    checkpoint = run_checkpoint(made.run)
    maps = Maps(title="", maps=np.asarray(made.explanation.maps), preprocessing=checkpoint.preprocessing)
    found = measure(maps, survey_images(table, pack, cache=made.table.root / "cache"), table.labels)
    rows = read_csv(made.run / "localisation.csv")
    assert [row["image"] for row in rows] == table.ids
    assert [row["label"] for row in rows] == [str(label) for label in table.labels]
    assert [row["mask"] for row in rows] == ["expert", "expert", "expert, empty", "expert", "expert", "expert"]
    assert [row["state"] for row in rows] == list(found.state)
    assert found.state[2] == "no lesion"
    for name in MEASURES:
        cells = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_allclose(cells, getattr(found, name), rtol=1e-5)
    assert rows[2]["inside"] == ""
    assert {"on_frame", "area_on_hair", "on_ruler"} <= set(rows[0])


def test_images_of_a_lesion_are_drawn_together(made: Made) -> None:
    found = explained(made, range(N), ExplainOptions(sample=0))
    checkpoint, survey = run_checkpoint(made.run), survey_images(made.table, made.pack, cache=made.table.root / "cache")
    maps = Maps(title="Tiny VGG", maps=np.asarray(found.maps), preprocessing=checkpoint.preprocessing)
    bounds = {
        paired: compare_looks({"tiny_vgg": maps}, survey, made.table.labels, groups=np.arange(N) // (1 + paired))
        .looks["tiny_vgg"]
        .own["inside"]
        for paired in (True, False)
    }
    told = found.about["look"]["looks"]["tiny_vgg"]["own"]["inside"]
    assert told == asdict(bounds[True])
    assert told["low"] != bounds[False].low


def explained(made: Made, rows: Any, options: ExplainOptions, **given: Any) -> Explanation:
    """Some of the images explained into a folder of their own."""
    folder = made.run.parent / f"copy {len(list(made.run.parent.iterdir()))}"
    folder.mkdir()
    table, pack = made.table.subset(rows), made.pack.subset(rows)
    cache = made.table.root / "cache"
    return explain_run(made.run, table, pack, None, options=options, folder=folder, cache=cache, **given)


def test_without_a_split_every_image_is_explained_into_the_folder_given(made: Made) -> None:
    before = {path: path.read_bytes() for path in made.run.iterdir()}
    found = explained(made, [0, 1, 3], ExplainOptions(sample=0))
    assert found.ids == tuple(made.table.ids[k] for k in (0, 1, 3))
    assert "faithfulness" not in found.about
    assert found.about["other_methods"] == []
    assert {path: path.read_bytes() for path in made.run.iterdir()} == before
    np.testing.assert_allclose(found.maps[1], made.explanation.maps[0], atol=1e-6)


def test_the_same_again_is_the_same(made: Made) -> None:
    options = ExplainOptions(sample=2, seed=1)
    one, two = (explained(made, [0, 1, 2, 3], options) for _ in range(2))
    assert json.dumps(one.about) == json.dumps(two.about)
    np.testing.assert_array_equal(one.maps, two.maps)


def test_every_stage_shows_its_progress(made: Made) -> None:
    told: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
        told[text] = [total, 0]

        def advance(count: int) -> None:
            told[text][1] += count

        yield advance

    explained(made, [0, 1, 2], ExplainOptions(sample=2, methods=("layer_cam",)), bar=bar)
    assert all(total == done for total, done in told.values())
    assert {text: total for text, (total, _) in told.items()} == {
        "surveying lesions": 3,
        "tiny_vgg: Grad-CAM": 3,
        "tiny_vgg: LayerCAM": 3,
        "tiny_vgg: replacing backgrounds and lesions": 3,
        "tiny_vgg: testing the maps on 2 images": PARTS,
    }


# ---------------------------------------------------------------- what goes wrong


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    return replace(made, run=Path(shutil.copytree(made.run, tmp_path / "run")))


def again(made: Made, split: Split | None = None, **options: Any) -> Explanation:
    given = ExplainOptions(sample=0, **options)
    cache = made.table.root / "cache"
    return explain_run(made.run, made.table, made.pack, split or made.split, options=given, cache=cache)


@pytest.mark.parametrize("change", ["nothing", "weights", "mask", "images"])
def test_only_what_is_of_the_same_weights_images_and_masks_is_kept(copied: Made, tmp_path: Path, change: str) -> None:
    split, mask = copied.split, Path(copied.table.rows[TEST[0]].mask)
    if change == "weights":
        shutil.copy(write_run(tmp_path / "other", seed=1) / "checkpoint.safetensors", copied.run)
    elif change == "mask":
        rows = tuple(
            replace(row, mask=str(write_mask(tmp_path / "mask.png", ~read_mask(mask, image=row.path))))
            if row.mask == str(mask)
            else row
            for row in copied.table.rows
        )
        copied = replace(copied, table=replace(copied.table, rows=rows))
    elif change == "images":
        split = split_of(copied.table, TEST[1:])
    about = again(copied, split, background=False).about
    kept = change == "nothing"
    assert ("background" in about, "faithfulness" in about, about["other_methods"] == ["hires_cam"]) == (kept,) * 3


def test_an_interrupted_explanation_does_not_vouch_for_its_files(copied: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "background", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(copied)
    assert not (copied.run / "explanation.json").exists()
    with pytest.raises(DataError, match=r"explanation.json does not exist"):
        read_explanation(copied.run)


def test_what_is_refused_leaves_the_earlier_explanation(copied: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run has no test image to explain; split the data with a test part, or give"):
        again(copied, split_of(copied.table, ()))
    with pytest.raises(ConfigError, match=r"method is 'gradcam'; known are grad_cam, "):
        again(copied, methods=("gradcam",))
    wrong = write_mask(tmp_path / "wrong.png", np.ones((5, 5), bool))
    rows = tuple(replace(row, mask=wrong) for row in copied.table.rows)
    with pytest.raises(DataError, match=r"the mask .*wrong.png is 5 x 5 pixels, its image .* 48 x 48"):
        again(replace(copied, table=replace(copied.table, rows=rows)))
    assert read_explanation(copied.run).ids == copied.explanation.ids


def test_a_run_without_a_checkpoint_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run folder"):
        explain_run(tmp_path, made.table, made.pack, made.split)


def test_a_network_that_is_not_finite_is_told_and_no_file_is_left(copied: Made) -> None:
    checkpoint = run_checkpoint(copied.run)
    with torch.no_grad():
        next(checkpoint.model.head.parameters()).fill_(torch.nan)
    save_checkpoint(copied.run / "checkpoint.safetensors", checkpoint)
    (copied.run / "heatmaps.npy").unlink()
    with pytest.raises(RunError, match="are not finite"):
        again(copied)
    assert not list(copied.run.glob("*heatmaps.npy*"))
    assert not (copied.run / "explanation.json").exists()


def test_a_full_disk_is_told(copied: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("lentigo.files.os.replace", full)
    with pytest.raises(DataError, match=r"heatmaps.npy cannot be written \(disk full\); free space, or"):
        again(copied)
