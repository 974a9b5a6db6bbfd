"""A segmenter trains in the classifiers' loop, finds drawn lesions, and says how sure it is."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from lentigo.config import Experiment
from lentigo.data.batches import Augmentation, masked_batches
from lentigo.data.masks import pack_masks
from lentigo.data.pack import pack_images
from lentigo.data.split import make_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.files import read_csv
from lentigo.learn.checkpoint import load_checkpoint, run_checkpoint, run_segmenter
from lentigo.learn.evaluation import evaluate_run
from lentigo.learn.run import run_about
from lentigo.learn.segmentation import (
    SegmenterScore,
    _expected_jaccard,
    best_masks,
    lesion_probability,
    open_segmenter,
    score_segmenter,
    segment_images,
)
from lentigo.learn.tasks import jaccard, mask_losses
from lentigo.learn.training import TrainingData, train
from lentigo.models.contract import evaluating
from lentigo.models.registry import create_model, resolve_preprocessing
from tests import reference
from tests.learn.helpers import assert_same_weights, history, resumed, weights

SIDE_PX = 32


def segmenter_experiment(**recipe: Any) -> Experiment:
    return Experiment().changed(
        data={"image_px": SIDE_PX},
        split={"protocol": "folders", "validation_fraction": 0.2},
        model={"name": "lesion_unet", "options": {"width": 4, "stages": 3}},
        preprocessing={"resize_px": SIDE_PX},
        augment={"flip_probability": 0.5, "vertical_flip_probability": 0.5, "zoom_probability": 0.5},
        train={"epochs": 2, "batch_size": 8, "device": "cpu", "learning_rate": 1e-2, "schedule": "cosine"} | recipe,
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """48 drawn lesions with masks, 12 of them to test on."""
    root = tmp_path_factory.mktemp("drawn")
    table = read_table(write_dataset(root / "data", count=48, size_px=SIDE_PX, seed=4, workers=1))
    pack = pack_images(table, image_px=SIDE_PX, cache=root / "cache")
    return TrainingData(table=table, pack=pack, split=make_split(table, segmenter_experiment().split))


@pytest.fixture(scope="module")
def run(drawn: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "segmenter"
    train(folder, segmenter_experiment(epochs=25), drawn)
    return folder


def test_indices(drawn: TrainingData) -> None:
    assert [len(drawn.split.indices(drawn.table, part)) for part in ("train", "validation", "test")] == [28, 8, 12]


# ---------------------------------------------------------------- training


def plain_loop(experiment: Experiment, data: TrainingData) -> dict[str, Tensor]:
    """The training as a tutorial would write it, with torch's own cosine schedule."""
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    model = create_model(experiment.model, preprocessing, seed=experiment.seed)
    indices = data.split.indices(data.table, "train")
    adam = torch.optim.Adam(model.parameters(), lr=experiment.train.learning_rate, fused=True)
    steps = math.ceil(len(indices) / experiment.train.batch_size) * experiment.train.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    masks = pack_masks(data.table, indices, size_px=data.pack.image_px)
    for epoch in range(experiment.train.epochs):
        order = np.random.default_rng(np.random.SeedSequence((experiment.seed, epoch, 0x0DE8))).permutation(indices)
        augmentation = Augmentation(config=experiment.augment, seed=experiment.seed, epoch=epoch)
        for images, lesions in masked_batches(
            data.pack, masks, order, preprocessing, batch_size=experiment.train.batch_size, augmentation=augmentation
        ):
            adam.zero_grad()
            mask_losses(model(images), lesions).mean().backward()
            adam.step()
            schedule.step()
    return model.state_dict()


def test_training_equals_a_plain_loop(tmp_path: Path, drawn: TrainingData) -> None:
    experiment = segmenter_experiment(learning_rate=1e-3)
    train(tmp_path / "run", experiment, drawn)
    expected, trained = plain_loop(experiment, drawn), weights(tmp_path / "run")
    for name, tensor in expected.items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rate_of_every_step(
    tmp_path: Path, drawn: TrainingData, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    """28 images in batches of 8 are 4 steps; of 8 in all, the cosine falls from 1 at the first to nearly 0."""
    rates: list[float] = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *_: (rates.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    resumed(tmp_path / "run", segmenter_experiment(schedule=schedule, save_every_s=1e-9), drawn, 6)
    del rates[5:6]  # the step that was lost with the kill, unless it was saved
    cosine = [1e-2 * (1 + math.cos(math.pi * done / 8)) / 2 for done in range(8)]
    expected = cosine if schedule == "cosine" else [1e-2] * 8
    assert sorted(set(rates), reverse=True) == pytest.approx(sorted(set(expected), reverse=True))


def test_a_training_that_was_killed_comes_to_the_same_weights(tmp_path: Path, drawn: TrainingData) -> None:
    experiment = segmenter_experiment(save_every_s=1e-9)
    train(tmp_path / "whole", experiment, drawn)
    resumed(tmp_path / "killed", experiment, drawn, 2, 3)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    assert history(tmp_path / "whole") == history(tmp_path / "killed")


def test_double_precision_is_validated(tmp_path: Path, drawn: TrainingData) -> None:
    scores = []
    for precision in ("32-true", "64-true"):
        train(tmp_path / precision, segmenter_experiment(epochs=1, precision=precision), drawn)
        scores.append(float(history(tmp_path / precision)[0]["validation_loss"]))
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


def test_pieces_of_a_batch_have_a_batch_s_loss(tmp_path: Path, drawn: TrainingData) -> None:
    """Batch normalisation sees pieces, so only what does not pass through it is the same: their number."""
    experiment = segmenter_experiment(epochs=1, micro_batch_size=3, schedule="constant")
    train(tmp_path / "run", experiment, drawn)
    (row,) = history(tmp_path / "run")
    assert 0.3 < float(row["train_loss"]) < 3


def test_history_and_run_say_what_was_reached(drawn: TrainingData, run: Path) -> None:
    rows = read_csv(run / "history.csv")
    assert list(rows[0]) == [
        "epoch", "steps", "train_loss", "validation_loss", "validation_jaccard", "seconds", "images_per_s"
    ]  # fmt: skip
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    assert float(rows[-1]["validation_jaccard"]) > 0.6
    assert run_about(run)["masks"] == {"train": 28, "validation": 8, "without": 0, "empty": 0}
    found, validation = run_segmenter(run), drawn.split.indices(drawn.table, "validation")
    masks = pack_masks(drawn.table, validation, size_px=SIDE_PX)
    ((images, lesions),) = masked_batches(drawn.pack, masks, validation, found.preprocessing, batch_size=8)
    with evaluating(found.model), torch.no_grad():
        logits = found.model(images)
    loss = [reference.mask_loss(one, other) for one, other in zip(logits.tolist(), lesions.tolist(), strict=True)]
    score = [float(reference.jaccard(one > 0, other > 0)) for one, other in zip(logits, lesions, strict=True)]
    assert float(rows[-1]["validation_loss"]) == pytest.approx(np.mean(loss), rel=1e-4)
    assert float(rows[-1]["validation_jaccard"]) == pytest.approx(np.mean(score), abs=1e-3)


def without_masks(data: TrainingData, rows: set[int]) -> TrainingData:
    changed = tuple(
        dataclasses.replace(row, mask="") if index in rows else row for index, row in enumerate(data.table.rows)
    )
    return dataclasses.replace(data, table=dataclasses.replace(data.table, rows=changed))


def test_images_without_a_mask_are_left_out_and_counted(tmp_path: Path, drawn: TrainingData) -> None:
    train_part, validation = (drawn.split.indices(drawn.table, part) for part in ("train", "validation"))
    data = without_masks(drawn, {*train_part[:12].tolist(), *validation.tolist()})
    train(tmp_path / "run", segmenter_experiment(epochs=1), data)
    assert run_about(tmp_path / "run")["masks"] == {"train": 16, "validation": 0, "without": 20, "empty": 0}
    (row,) = history(tmp_path / "run")
    assert (row["steps"], row["validation_jaccard"], row["validation_loss"]) == ("2", "nan", "nan")


def test_data_without_masks_are_refused(tmp_path: Path, drawn: TrainingData) -> None:
    data = without_masks(drawn, set(range(len(drawn.table))))
    message = (
        "data: none of the 28 training images has a lesion mask, from which a segmenter learns; give a table whose"
    )
    with pytest.raises(DataError, match=message):
        train(tmp_path / "run", segmenter_experiment(), data)
    assert not (tmp_path / "run").exists()


def test_data_with_empty_masks_alone_are_refused(tmp_path: Path, drawn: TrainingData) -> None:
    empty = tmp_path / "empty.png"
    Image.new("L", (SIDE_PX, SIDE_PX)).save(empty)
    rows = tuple(dataclasses.replace(row, mask=str(empty)) for row in drawn.table.rows)
    data = dataclasses.replace(drawn, table=dataclasses.replace(drawn.table, rows=rows))
    with pytest.raises(DataError, match="none of the 28 training images has a lesion mask"):
        train(tmp_path / "run", segmenter_experiment(), data)


def test_outputs_that_are_not_finite_are_named(tmp_path: Path, drawn: TrainingData) -> None:
    with pytest.raises(RunError, match=r"run: .* not finite after epoch 1; lower|the loss is (nan|inf) in epoch 1"):
        train(tmp_path / "run", segmenter_experiment(learning_rate=1e30, schedule="constant"), drawn)


def test_progress_is_shown_with_the_jaccard_index(
    tmp_path: Path, drawn: TrainingData, capsys: pytest.CaptureFixture[str]
) -> None:
    from lentigo.terminal import Display

    with Display().training("lesion_unet") as on_progress:
        train(tmp_path / "run", segmenter_experiment(epochs=1), drawn, on_progress=on_progress)
    (line,) = capsys.readouterr().err.splitlines()
    score = float(history(tmp_path / "run")[0]["validation_jaccard"])
    assert line.startswith("lesion_unet epoch 1: loss ")
    assert f"Jaccard {score:.4f}, " in line


# ---------------------------------------------------------------- a segmenter is no classifier


def test_commands_for_classifiers_refuse_a_segmenter(tmp_path: Path, drawn: TrainingData, run: Path) -> None:
    message = r"checkpoint.safetensors is of lesion_unet, which finds lesions and scores no image; give the run of a cl"
    for refused in (
        lambda: run_checkpoint(run),
        lambda: load_checkpoint(run / "checkpoint.safetensors"),
        lambda: evaluate_run(run, drawn.table, drawn.pack, drawn.split, folder=tmp_path),
    ):
        with pytest.raises(RunError, match=message):
            refused()


def test_a_comparison_of_segmenters_is_refused(tmp_path: Path, drawn: TrainingData) -> None:
    from lentigo.compare import Comparison, compare

    comparison = Comparison(
        table=drawn.table, experiments=(segmenter_experiment(),), out=tmp_path / "out", command="", drawn=False
    )
    with pytest.raises(ConfigError, match="lesion_unet finds lesions and scores no image; use a classifier: tiny_vgg"):
        compare(comparison)
    assert not (tmp_path / "out").exists()


def test_a_classifier_is_no_segmenter(tmp_path: Path, drawn: TrainingData) -> None:
    experiment = Experiment().changed(
        data={"image_px": SIDE_PX}, model={"options": {"image_px": 16, "width": 2}}, train={"epochs": 1}
    )
    train(tmp_path / "run", experiment, drawn)
    with pytest.raises(
        RunError, match="is of tiny_vgg, which finds no lesion; give a run of lesion_unet, trained with"
    ):
        open_segmenter(tmp_path / "run")
    with pytest.raises(RunError, match=r"is no run folder: it has no experiment\.toml"):
        open_segmenter(tmp_path)


# ---------------------------------------------------------------- masks


def test_drawn_lesions_are_found(drawn: TrainingData, run: Path) -> None:
    test = drawn.split.indices(drawn.table, "test")
    found = score_segmenter(run, drawn.table, drawn.pack, test, size_px=SIDE_PX)
    assert found.ids == tuple(drawn.table.ids[index] for index in test)
    assert found.jaccard.mean() > 0.6
    assert found.left_out == ()
    masks, confidence = segment_images(run, drawn.pack, test, size_px=SIDE_PX)
    experts = pack_masks(drawn.table, test, size_px=SIDE_PX).read(test)
    assert np.array_equal(jaccard(masks, experts), found.jaccard)
    assert np.array_equal(confidence, found.confidence)
    assert ((confidence > 0) & (confidence <= 1)).all()


def test_order_size_and_source_of_the_segmenter(drawn: TrainingData, run: Path) -> None:
    told: list[int] = []
    masks, confidence = segment_images(run, drawn.pack, [5, 2, 5], size_px=40, on_progress=told.append)
    assert (masks.shape, masks.dtype, sum(told)) == ((3, 40, 40), np.dtype(bool), 3)
    assert np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[1])
    segmenter = open_segmenter(run / "checkpoint.safetensors")
    again, confidence_again = segmenter(drawn.pack, [2, 5], size_px=40)
    assert np.array_equal(again, masks[1:])
    assert confidence_again == pytest.approx(confidence[1:], abs=1e-6)
    assert len(segmenter.key) == 64
    assert open_segmenter(run).key == segmenter.key


def test_no_image_gives_no_mask(drawn: TrainingData, run: Path) -> None:
    masks, confidence = segment_images(run, drawn.pack, [], size_px=8)
    assert (masks.shape, confidence.shape) == ((0, 8, 8), (0,))


class Brightness(nn.Module):
    """A lesion where the red channel is bright, a little more so at the left and the top."""

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        slope = torch.linspace(1, -1, side)
        return 4 * images[:, 0] - 2 + slope[None, None, :] + 0.5 * slope[None, :, None]


def test_the_views_are_turned_back_before_they_are_averaged() -> None:
    """Over all eight, what leans to one side averages out: an image turned first has its mask turned."""
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    shares = lesion_probability(Brightness(), images)
    assert torch.nn.functional.cosine_similarity(shares.flatten() - 0.5, images[:, 0].flatten() - 0.5, dim=0) > 0.99
    for turns in range(4):
        for mirrored in (False, True):
            view = torch.rot90(images, turns, (2, 3))
            turned = lesion_probability(Brightness(), view.flip(3) if mirrored else view)
            back = torch.rot90(turned.flip(2) if mirrored else turned, -turns, (1, 2))
            torch.testing.assert_close(back, shares)


def test_best_masks_by_hand() -> None:
    """0.9 alone expects 0.9 / 1.8, with 0.45 too 1.35 / 2.35, which is the most, and with 0.35 besides 1.7 / 3."""
    probability = np.array([[[0.9, 0.45], [0.35, 0.0]]], dtype=np.float32)
    masks, expected = best_masks(probability)
    assert masks.tolist() == [[[True, True], [False, False]]]
    assert expected == pytest.approx(1.35 / 2.35)


def test_sure_masks_and_empty_ones() -> None:
    probability = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.5, 0.1], [0.1, 0.1]]], dtype=np.float32)
    masks, expected = best_masks(probability)
    assert (masks.sum(axis=(1, 2)).tolist(), expected.tolist()) == ([1, 0], [1, 0])
    none = best_masks(probability[:0])
    assert (none[0].shape, none[1].shape) == ((0, 2, 2), (0,))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), power=st.sampled_from([0.3, 1.0, 4.0]))
def test_no_other_mask_expects_more(seed: int, power: float) -> None:
    """Of all masks of 9 pixels."""
    probability = (np.random.default_rng(seed).random((2, 3, 3)) ** power).astype(np.float32)
    probability[:, 0, 0] = 0.75
    masks, expected = best_masks(probability)
    every = [np.reshape([bool(number >> bit & 1) for bit in range(9)], (3, 3)) for number in range(1, 512)]
    for mask, share, found in zip(masks, probability, expected, strict=True):
        assert found == pytest.approx(float(reference.expected_jaccard(mask, share)), rel=1e-6)
        best = max(_expected_jaccard(np.array([one]), share[None])[0] for one in every)
        assert found == pytest.approx(best, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_sharper_probabilities_are_surer(seed: int) -> None:
    probability = np.random.default_rng(seed).random((3, 5, 5)).astype(np.float32)
    probability[:, 0, 0] = 0.75
    _, expected = best_masks(probability)
    _, sharper = best_masks(np.where(probability > 0.5, (1 + probability) / 2, probability / 2).astype(np.float32))
    assert (sharper > expected).all()
    assert ((expected > 0) & (expected < 1)).all()


# ---------------------------------------------------------------- scores


def test_summary_by_hand() -> None:
    score = SegmenterScore(
        ids=tuple("abcde"),
        jaccard=np.array([0.2, 0.4, 0.6, 0.8, 1.0]),
        confidence=np.array([0.1, 0.8, 0.7, 1.0, 0.9]),
        left_out=("f",),
    )
    found = score.to_dict()
    assert (found["n_images"], found["n_left_out"], found["share_below_half"]) == (5, 1, 0.4)
    assert found["jaccard"] == pytest.approx(0.6)
    assert 0.2 < found["jaccard_low"] < 0.6 < found["jaccard_high"] < 1
    assert (found["n_low_confidence"], found["jaccard_confident"]) == (1, pytest.approx(0.7))
    assert found["quantiles"]["0.5"] == pytest.approx(0.6)
    assert found["quantiles"]["0.05"] == pytest.approx(0.24)
    assert found["rank_correlation"] == pytest.approx(1 - 6 * 4 / (5 * 24))  # differences of rank 0, 1, 1, 1, 1


def test_the_interval_narrows_with_the_root_of_the_number() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for count in (100, 1600):
        scores = rng.normal(0.7, 0.1, count)
        score = SegmenterScore(
            ids=tuple(map(str, range(count))), jaccard=scores, confidence=scores, left_out=()
        ).to_dict()
        widths.append(score["jaccard_high"] - score["jaccard_low"])
        assert widths[-1] == pytest.approx(2 * 1.96 * scores.std() / count**0.5, rel=0.12)
        assert score["rank_correlation"] == pytest.approx(1)


def test_a_confidence_that_does_not_vary_ranks_nothing() -> None:
    score = SegmenterScore(ids=("a", "b"), jaccard=np.array([0.2, 0.4]), confidence=np.ones(2), left_out=())
    assert math.isnan(score.to_dict()["rank_correlation"])


def test_images_that_cannot_be_scored_are_left_out_or_refused(drawn: TrainingData, run: Path) -> None:
    test = drawn.split.indices(drawn.table, "test")
    some = without_masks(drawn, {int(test[0])})
    found = score_segmenter(run, some.table, some.pack, test[:3], size_px=SIDE_PX)
    assert found.left_out == (drawn.table.ids[test[0]],)
    assert len(found.ids) == 2
    with pytest.raises(
        DataError, match="data: none of the 1 images has a lesion mask with a lesion in it to compare with"
    ):
        score_segmenter(run, some.table, some.pack, test[:1])
