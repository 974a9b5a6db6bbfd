"""What a run's decisions hang on, and whether its maps tell the truth: with networks that see one part."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lentigo.data.batches import batches
from lentigo.evidence.comparison import holm
from lentigo.evidence.intervals import UNDEFINED
from lentigo.evidence.means import mean_difference, mean_interval
from lentigo.explain import trust
from lentigo.explain.agreement import agreement
from lentigo.explain.background import FILLS, background_dependence, replaced_logits
from lentigo.explain.cam import grad_cam, grad_cam_plus_plus, hires_cam
from lentigo.explain.faithfulness import deletion_and_insertion
from lentigo.explain.sanity import over_draws, randomised_layers, stability
from lentigo.explain.survey import ARTEFACTS, Survey
from lentigo.explain.trust import COMPARED, PARTS, SANITY_IMAGES, Subject, background, drawn_images, faithfulness
from lentigo.explain.trust_pairs import trust_pairs
from lentigo.files import read_json, write_json
from lentigo.imaging import Preprocessing
from lentigo.learn.sharing import Sharing
from lentigo.models.contract import LesionClassifier
from tests.data.pictures import SIDE_PX
from tests.explain.nets import tiny_vgg
from tests.explain.runs import packed_moles

N = 20
AS_THEY_ARE = Preprocessing(resize_px=None, crop_px=None)


def survey_of(lesions: np.ndarray, unknown: tuple[int, ...] = ()) -> Survey:
    n = len(lesions)
    return Survey(
        ids=tuple(map(str, range(n))),
        lesions=lesions,
        origins=("automatic",) * n,
        confidences=np.array([0.0 if k in unknown else 1.0 for k in range(n)]),
        least_confidence={"expert": 0.0, "automatic": 0.5, "segmenter": 0.0},
        artefacts={name: np.zeros_like(lesions) for name in ARTEFACTS},
    )


class Seeing(nn.Module):
    """The logit is 20 times (0.6 less the mean red of some pixels): dark is malignant."""

    def __init__(self, seen: np.ndarray) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.from_numpy(seen / seen.sum()).float())

    def forward(self, images: Tensor) -> Tensor:
        return 20 * (0.6 - (images[:, :1] * self.seen).sum(dim=(2, 3)))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Two archives hold both classes, a third one malignant image only; the network stands for any."""
    table, pack, _ = packed_moles(tmp_path_factory.mktemp("moles"), N)
    sources = ["a"] * 8 + ["b"] * 8 + ["", ""] + ["a", "one class"]
    return Subject(
        model=LesionClassifier(nn.Identity(), Seeing(np.ones((SIDE_PX, SIDE_PX)))),
        preprocessing=AS_THEY_ARE,
        pack=pack,
        labels=table.labels,
        groups=np.arange(N, dtype=np.int64),
        sources=sources,
    )


@cache
def middle() -> np.ndarray:
    """Lesions that hold the middle of the picture and leave its border."""
    down, right = np.mgrid[:SIDE_PX, :SIDE_PX]
    return np.stack([np.hypot(down - 23.5, right - 23.5) <= 14] * N)


def part(inner: bool) -> np.ndarray:
    """The lesion itself, or what lies more than 6 % of the side away from it."""
    down, right = np.mgrid[:SIDE_PX, :SIDE_PX]
    away = np.hypot(down - 23.5, right - 23.5)
    return away <= 12 if inner else away > 18


def seeing(subject: Subject, seen: np.ndarray) -> Subject:
    return replace(subject, model=LesionClassifier(nn.Identity(), Seeing(seen)))


# ---------------------------------------------------------------- the background


def test_a_network_that_sees_the_middle_hangs_on_the_lesion_alone(subject: Subject) -> None:
    found = background(seeing(subject, part(inner=True)), survey_of(middle()))
    assert (found["images"], found["left_out"], list(found["fills"])) == (N, 0, list(FILLS))
    for told in found["fills"].values():
        assert told["mean_share"] == {"value": 0, "low": 0, "high": 0}
        assert told["flips_without_background"]["value"] == 0
        assert told["auc"] == told["auc_without_background"]
        assert told["n"] == N
    assert found["fills"]["common"]["flips_without_lesion"]["value"] > 0.2  # one bright colour for brown moles
    assert found["fills"]["common"]["auc_without_lesion"]["value"] == 0.5


def test_a_network_that_sees_the_border_hangs_on_the_background_alone(subject: Subject) -> None:
    found = background(seeing(subject, part(inner=False)), survey_of(middle()))
    for told in found["fills"].values():
        assert told["mean_share"]["value"] == 1
        assert told["flips_without_lesion"]["value"] == 0
        assert told["auc"] == told["auc_without_lesion"]
    assert found["fills"]["common"]["auc_without_background"]["value"] == 0.5


def test_images_whose_lesion_is_not_known_are_left_out_and_counted(subject: Subject) -> None:
    one = seeing(subject, part(inner=True))
    done: list[int] = []
    found = background(one, survey_of(middle(), unknown=(0, 5, 6)), on_progress=done.append)
    assert (found["images"], found["left_out"]) == (N - 3, 3)
    assert sum(done) == N
    for told in found["fills"].values():
        assert told["n"] == N - 3


def test_numbers_are_those_of_the_dependence_and_within_a_source_of_its_images_alone(subject: Subject) -> None:
    known, lesions = survey_of(middle(), unknown=(3,)), middle()
    kept = np.array([k for k in range(N) if k != 3])
    logits = replaced_logits(
        subject.model, subject.pack, kept, lesion_of=lesions.__getitem__, preprocessing=AS_THEY_ARE
    )
    groups = np.arange(N, dtype=np.int64) // 2
    found = background(replace(subject, groups=groups), known, seed=4)
    of_a = np.array([subject.sources[k] == "a" for k in kept])
    for told, rows in ((found["fills"], np.ones(N - 1, bool)), (found["within"]["a"], of_a)):
        for fill in FILLS:
            direct = background_dependence(
                logits.logits[rows],
                logits.without_background[fill][rows],
                logits.without_lesion[fill][rows],
                labels=subject.labels[kept[rows]],
                groups=groups[kept[rows]],
                seed=4,
            )
            assert told[fill] == direct.to_dict()
            if told is found["fills"]:
                assert found["positions"] == kept.tolist()
                assert found["shares"][fill] == [round(value, 4) for value in direct.share.tolist()]
                assert np.mean(found["shares"][fill]) == pytest.approx(told[fill]["mean_share"]["value"], abs=5e-5)
    assert list(found["within"]) == ["a", "b"]  # the third holds one class, and two images have none


@dataclass(frozen=True, kw_only=True)
class InTurns(Sharing):
    """Processes one after the other: what each gave is kept, and the last one gets the whole."""

    given: Iterator[list[np.ndarray]]  # for each call what was given before

    def gather(self, rows: np.ndarray, total: int) -> np.ndarray:
        given = next(self.given)
        given.append(rows)
        whole = np.zeros((total, *rows.shape[1:]), rows.dtype)
        for rank, part in enumerate(given):
            whole[rank :: self.count] = part
        return whole


@pytest.mark.parametrize("count", [3, N + 2])
def test_several_processes_find_what_one_does(subject: Subject, count: int) -> None:
    survey = survey_of(middle(), unknown=(0, 5, 6))
    given: list[list[np.ndarray]] = [[], []]
    done: list[int] = []
    for rank in range(count):
        found = background(
            subject, survey, seed=2, sharing=InTurns(rank=rank, count=count, given=iter(given)), on_progress=done.append
        )
    assert found == background(subject, survey, seed=2)
    assert sum(done) == N


def test_without_sources_or_lesions_there_is_nothing_to_say(subject: Subject) -> None:
    assert background(replace(subject, sources=()), survey_of(middle()))["within"] == {}
    found = background(subject, survey_of(middle(), unknown=tuple(range(N))))
    assert found == {"images": 0, "left_out": N, "fills": {}, "within": {}, "positions": [], "shares": {}}


def test_a_small_mask_is_enlarged_to_the_picture(subject: Subject) -> None:
    small = middle().reshape(N, 24, 2, 24, 2).mean(axis=(2, 4)) >= 0.5
    larger = trust._at(small[0], SIDE_PX)
    assert (larger & middle()[0]).sum() / (larger | middle()[0]).sum() > 0.95
    assert (trust._at(middle()[0], SIDE_PX) == middle()[0]).all()
    one = seeing(subject, part(inner=True))
    for kind in ("mean_share", "flips_without_background"):
        assert background(one, survey_of(small))["fills"]["own"][kind]["value"] == 0


def test_what_is_found_is_json(subject: Subject) -> None:
    found = background(subject, survey_of(middle(), unknown=(1,)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# ---------------------------------------------------------------- whether the maps tell the truth


@pytest.fixture(scope="module")
def asked(subject: Subject) -> Subject:
    return replace(subject, model=tiny_vgg().eval(), preprocessing=Preprocessing(resize_px=24, crop_px=None))


SOME = [1, 4, 5, 9, 12]


@pytest.fixture(scope="module")
def found(asked: Subject) -> dict[str, Any]:
    return faithfulness(asked, SOME, seed=2)


def inputs_of(subject: Subject, rows: list[int]) -> Tensor:
    return torch.cat(list(batches(subject.pack, rows, subject.preprocessing, batch_size=16)))


def told(values: np.ndarray, subject: Subject, seed: int = 2) -> dict[str, float]:
    interval = mean_interval(values, groups=subject.groups[SOME], seed=seed)
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def test_it_says_what_was_asked(found: dict[str, Any], asked: Subject) -> None:
    assert (found["method"], found["images"], found["seed"]) == ("grad_cam", 5, 2)
    assert found["ids"] == [f"{k:04d}.png" for k in SOME]
    assert list(found["curves"]) == ["blur", "mean"]
    assert list(found["agreement"]) == ["Grad-CAM++", "HiResCAM", "Occlusion"]  # LayerCAM's map is HiResCAM's
    assert len(COMPARED) == 3
    assert list(found["stability"]) == ["1"]  # 1 % and 3 % of 24 px are both one
    names = [name for name, layer in asked.model.named_modules() if list(layer.parameters(recurse=False))]
    assert [layer["name"] for layer in found["layers"]] == names[::-1]
    assert all((layer["images"], layer["draws"]) == (5, 5) for layer in found["layers"])


def test_curves_are_means_over_the_images_and_their_areas_lie_under_them(found: dict[str, Any], asked: Subject) -> None:
    inputs = inputs_of(asked, SOME)
    maps = grad_cam(asked.model, inputs).malignant
    for fill in ("blur", "mean"):
        direct = deletion_and_insertion(asked.model, inputs, maps, fill=fill, seed=2)
        areas, curves = direct.areas("probability"), found["curves"][fill]
        assert curves["undefined"] == 0
        for kind in ("deletion", "insertion"):
            one = curves[kind]
            mean = (1 / (1 + np.exp(-getattr(direct, kind).astype(np.float64)))).mean(axis=0)
            assert one["curve"] == pytest.approx(mean, abs=1e-6)
            at = np.linspace(0, 1, len(one["curve"]))
            assert one["area"]["value"] == pytest.approx(np.trapezoid(one["curve"], at), abs=1e-6)
            assert one["random"]["value"] == pytest.approx(np.trapezoid(one["random_curve"], at), abs=1e-6)
            tested = mean_difference(getattr(areas, kind), getattr(areas, f"random_{kind}"), seed=2)
            assert one["p_value"] == tested.p_value
            better = 1 if kind == "insertion" else -1
            gains = found["values"][f"{kind}_gain"][fill]
            assert gains == [round(value, 4) for value in getattr(areas, f"{kind}_gain").tolist()]
            assert np.mean(gains) == pytest.approx(better * one["difference"]["value"], abs=5e-5)
            assert one["difference"]["value"] == pytest.approx(one["area"]["value"] - one["random"]["value"])
        assert len(curves["deletion"]["curve"]) == len(curves["insertion"]["random_curve"]) == 11
        assert curves["deletion"]["curve"][0] == pytest.approx(curves["insertion"]["curve"][-1])
        assert curves["deletion"]["curve"][-1] == pytest.approx(curves["insertion"]["curve"][0])
        assert curves["deletion"]["curve"][0] >= 0.5  # of the network's own decision


def test_p_values_of_all_fills_and_kinds_are_corrected_together(found: dict[str, Any]) -> None:
    tests = [found["curves"][fill][kind] for fill in ("blur", "mean") for kind in ("deletion", "insertion")]
    assert [test["adjusted"] for test in tests] == holm([test["p_value"] for test in tests])
    assert min(test["adjusted"] for test in tests) == min(1, 4 * min(test["p_value"] for test in tests))


def test_scores_of_any_size_have_a_mean_probability() -> None:
    """A logit of -800 would overflow in exp(800), which pytest takes for an error."""
    assert trust._mean_probability(np.array([[-800.0, 0.0, 800.0], [-800.0, 0.0, 0.0]])) == [0, 0.5, 0.75]
    scores = np.linspace(-30, 30, 13)
    assert trust._mean_probability(scores[None]) == pytest.approx(1 / (1 + np.exp(-scores)), abs=1e-15)


def test_agreement_layers_and_stability_are_means_of_their_measures(found: dict[str, Any], asked: Subject) -> None:
    inputs = inputs_of(asked, SOME)
    maps = grad_cam(asked.model, inputs).malignant.numpy()
    for name, method in {"HiResCAM": hires_cam, "Grad-CAM++": grad_cam_plus_plus}.items():
        other = method(asked.model, inputs).signed().numpy()
        assert found["agreement"][name] == pytest.approx(told(agreement(maps, other), asked), nan_ok=True)

    def explain(model: nn.Module, images: Tensor) -> Tensor:
        return grad_cam(model, images).malignant

    checks = randomised_layers(asked.model, inputs, explain, seed=2)
    for layer, check in zip(found["layers"], checks, strict=True):
        assert (layer["name"], layer["undefined"]) == (check.layer, check.undefined)
        for key, values in (("correlation", check.signed), ("absolute", check.absolute)):
            interval = over_draws(values)
            wanted = {"value": interval.value, "low": interval.low, "high": interval.high}
            assert layer[key] == pytest.approx(wanted, nan_ok=True)
            assert layer[key]["value"] == pytest.approx(values.mean(), nan_ok=True)
    stable = stability(asked.model, inputs, explain, shift_px=1).mean
    assert found["stability"]["1"] == pytest.approx(told(stable, asked), nan_ok=True)
    rounded = [round(value, 4) for value in stable.tolist()]
    assert found["values"]["stability"] == {"0.01": rounded, "0.03": rounded}  # both shifts are of 1 px


def test_the_same_seed_gives_the_same_and_another_moves_what_is_random(asked: Subject, found: dict[str, Any]) -> None:
    done: list[int] = []
    again = faithfulness(asked, np.array(SOME), seed=2, on_progress=done.append)
    assert json.dumps(again) == json.dumps(found)
    assert sum(done) == PARTS
    other = faithfulness(asked, SOME, seed=3, methods=())
    for kind in ("deletion", "insertion"):
        one, two = (told["curves"]["blur"][kind] for told in (found, other))
        assert one["area"]["value"] == two["area"]["value"]
        assert one["random"]["value"] != two["random"]["value"]
    assert other["layers"][-1]["correlation"] != found["layers"][-1]["correlation"]
    assert other["agreement"] == {}


def test_weights_are_made_random_on_a_few_of_the_images(asked: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SANITY_IMAGES < trust.SAMPLE
    monkeypatch.setattr(trust, "SANITY_IMAGES", 2)
    few = faithfulness(asked, SOME, methods=())
    assert {layer["images"] for layer in few["layers"]} == {2}
    assert few["images"] == 5


def test_maps_without_an_order_are_undefined_and_no_curve_is_made_up(subject: Subject) -> None:
    """A head that multiplies by nothing: every map is 0 everywhere."""
    flat = LesionClassifier(nn.AvgPool2d(12), nn.Sequential(nn.Flatten(), nn.Linear(48, 1)))
    nn.init.zeros_(flat.head[1].weight)
    nn.init.constant_(flat.head[1].bias, 1.0)
    found = faithfulness(replace(subject, model=flat), SOME, methods=("hires_cam",))
    for curves in found["curves"].values():
        assert curves["undefined"] == 5
        for kind in ("deletion", "insertion"):
            assert curves[kind]["curve"] == curves[kind]["random_curve"] == []
            assert math.isnan(curves[kind]["area"]["value"])
            assert math.isnan(curves[kind]["p_value"])
            assert math.isnan(curves[kind]["adjusted"])
    assert all(math.isnan(value) for kept in found["values"].values() for of in kept.values() for value in of)
    assert math.isnan(found["agreement"]["HiResCAM"]["value"])
    assert all(math.isnan(value["value"]) for value in found["stability"].values())
    assert found["layers"][0]["undefined"] == 5


def test_the_network_is_left_as_it_was(asked: Subject) -> None:
    before = {name: value.clone() for name, value in asked.model.state_dict().items()}
    faithfulness(asked, [0, 1], methods=())
    assert all(torch.equal(before[name], value) for name, value in asked.model.state_dict().items())


# ---------------------------------------------------------------- which images


def test_images_are_drawn_by_seed_without_one_twice() -> None:
    drawn = drawn_images(5, 40, seed=1)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == 5
    assert drawn_images(5, 40, seed=1).tolist() == drawn.tolist()
    assert drawn_images(5, 40, seed=2).tolist() != drawn.tolist()
    assert set(drawn.tolist()) <= set(drawn_images(9, 40, seed=1).tolist())  # more images are these and others
    assert drawn_images(50, 7, seed=1).tolist() == list(range(7))
    assert set(np.concatenate([drawn_images(3, 10, seed=seed) for seed in range(20)]).tolist()) == set(range(10))


def test_written_results_hold_null_for_what_is_undefined(tmp_path: Path, asked: Subject) -> None:
    found = faithfulness(asked, [0], methods=())  # one image: no interval
    write_json(tmp_path / "found.json", found)
    back = read_json(tmp_path / "found.json")
    assert back["stability"]["1"]["low"] is None
    assert back["curves"]["blur"]["deletion"]["area"]["value"] == found["curves"]["blur"]["deletion"]["area"]["value"]


# ---------------------------------------------------------------- networks beside each other


def kept(ids: str = "abcde", *, shares: list[float | None], gains: list[float | None] | None = None) -> dict[str, Any]:
    """What an explanation.json keeps of single images: a share of all but the first, a gain of the last ones."""
    about = {"ids": list(ids), "background": {"positions": list(range(1, len(ids))), "shares": {"own": shares}}}
    if gains is None:
        return about
    return about | {"faithfulness": {"ids": list(ids[-len(gains) :]), "values": {"deletion_gain": {"blur": gains}}}}


def test_differences_are_means_over_the_same_images_with_signs_turned_by_hand() -> None:
    one = kept(shares=[0.5, 0.6, 0.7, 0.8], gains=[0.2, 0.1])
    two = kept(shares=[0.4, 0.4, 0.4, None], gains=[0.0, 0.2])
    (pair,) = trust_pairs({"one": one, "two": two})
    assert (pair.first, pair.second) == ("one", "two")
    assert list(pair.differences) == ["background_own", "deletion_gain_blur"]
    share, gain = pair.differences.values()
    assert (share.difference.value, share.n) == (pytest.approx(0.2), 3)  # null is no value
    assert share.p_value == 2 / 8  # all three are of one sign: two of eight ways are as far from 0
    assert (gain.difference.value, gain.n, gain.p_value) == (pytest.approx(0.05), 2, 1)
    assert pair.adjusted == {"background_own": 0.25, "deletion_gain_blur": 1}
    told = pair.to_dict()
    assert told["differences"]["background_own"]["difference"]["value"] == share.difference.value
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_images_of_a_group_turn_their_signs_together() -> None:
    one, two = kept(shares=[0.5, 0.6, 0.7, 0.8]), kept(shares=[0.4, 0.4, 0.4, 0.4])
    alone, grouped = (trust_pairs({"one": one, "two": two}, groups=of)[0] for of in (None, {"b": 0, "c": 0, "d": 0}))
    assert alone.differences["background_own"].p_value == 2 / 16
    assert grouped.differences["background_own"].p_value == 2 / 4  # b, c, d are one, and e without a number is alone


def test_p_values_are_corrected_over_the_pairs_that_have_the_measure() -> None:
    rng = np.random.default_rng(0)
    ids = "".join(map(chr, range(97, 109)))
    runs = {
        name: kept(ids, shares=(level + rng.normal(scale=0.1, size=11)).tolist(), gains=gains)
        for name, level, gains in (("a", 0.2, [0.5, 0.4]), ("b", 0.3, [0.1, 0.3]), ("c", 0.6, None))
    }
    pairs = trust_pairs(runs, seed=1)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = [pair.differences["background_own"].p_value for pair in pairs]
    assert [pair.adjusted["background_own"] for pair in pairs] == holm(raw)
    assert len(set(raw)) > 1
    assert [list(pair.differences)[1:] for pair in pairs] == [["deletion_gain_blur"], [], []]
    assert pairs[0].adjusted["deletion_gain_blur"] == pairs[0].differences["deletion_gain_blur"].p_value


def test_turning_a_pair_turns_its_differences() -> None:
    one, two = kept(shares=[0.5, 0.1, 0.7, 0.8]), kept(shares=[0.4, 0.4, 0.4, 0.3])
    (forth,), (back,) = trust_pairs({"one": one, "two": two}), trust_pairs({"two": two, "one": one})
    for name, found in forth.differences.items():
        turned = back.differences[name]
        assert turned.p_value == found.p_value
        assert turned.difference.value == pytest.approx(-found.difference.value)
        assert turned.difference.low == pytest.approx(-found.difference.high)


def test_a_pair_without_the_same_images_or_without_values_is_left_out() -> None:
    whole = kept(shares=[0.5, 0.6, 0.7, 0.8])
    earlier = {"ids": list("abcde"), "background": {"fills": {}}, "faithfulness": {"ids": list("ab"), "curves": {}}}
    for other in (earlier, {"ids": list("abcde")}, kept("abcdf", shares=[0.4] * 4)):
        assert trust_pairs({"one": whole, "two": other}) == ()
        (pair,) = trust_pairs({"one": whole, "two": other, "three": whole})
        assert (pair.first, pair.second) == ("one", "three")
        assert pair.adjusted == {"background_own": 1}
    assert trust_pairs({"one": whole}) == trust_pairs({}) == ()


def test_where_no_image_has_both_values_the_difference_is_undefined() -> None:
    one, two = kept("abc", shares=[0.5, None]), kept("abc", shares=[None, 0.5])
    (pair,) = trust_pairs({"one": one, "two": two})
    assert pair.differences["background_own"].difference == UNDEFINED
    assert pair.differences["background_own"].n == 0
    assert math.isnan(pair.adjusted["background_own"])


def test_values_as_found_and_as_read_back_are_compared_alike(tmp_path: Path, subject: Subject) -> None:
    runs = {
        name: {"ids": list(subject.pack.ids), "background": background(seeing(subject, seen), survey_of(middle()))}
        for name, seen in (("inner", part(inner=True)), ("outer", part(inner=False)))
    }
    write_json(tmp_path / "runs.json", runs)
    (found,), (again,) = trust_pairs(runs), trust_pairs(read_json(tmp_path / "runs.json"))
    assert found.to_dict() == again.to_dict()
    for fill in FILLS:  # the one hangs on the lesion alone, the other on the background alone
        assert found.differences[f"background_{fill}"].difference.value == -1
        assert found.adjusted[f"background_{fill}"] == found.differences[f"background_{fill}"].p_value < 0.001
