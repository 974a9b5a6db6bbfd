"""A layer of a network: what it gives, by identity with the plain forward pass, and what is left of it: nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from lentigo.errors import ConfigError
from lentigo.explain.layer import Layer, layer_of, score_images
from lentigo.models.contract import LesionClassifier
from tests.explain.nets import (
    TwoClasses,
    bent_net,
    hand_images,
    hand_net,
    malignant_less_benign,
    random_images,
    state_of,
    untrained,
    used_net,
)

Case = tuple[nn.Module, str | None, int]
CASES: dict[str, Callable[[], Case]] = {
    "halves": lambda: (bent_net(), None, 8),
    "halves by name": lambda: (bent_net(), "features", 8),
    "first layer": lambda: (bent_net(), "features.0", 8),
    "before a ReLU in place": lambda: (untrained("tiny_vgg", 24, width=4), "features.0", 24),
    "inside a residual block": lambda: (untrained("resnet18", 40), "features.5.0.conv1", 40),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


# ---------------------------------------------------------------- by hand


def test_halves_worked_out_by_hand() -> None:
    layer = layer_of(hand_net())
    assert layer.name == "features"
    images = hand_images()
    activations = layer.activations(images)
    assert activations[0].tolist() == [[[1, 0], [2, 0]], [[0, 3], [1, 0]]]
    assert layer.scores(images, activations).tolist() == [3.25, 0.25, 1.25]
    assert layer.scores(images, torch.ones(3, 2, 2, 2)).tolist() == [4.25] * 3  # 1 + 2 + 3 + 2 - 4, and the bias
    _, gradients, scores = layer.gradients(images)
    assert gradients.tolist() == [
        [[[1, 2], [3, 2]], [[-1, -1], [-1, -1]]],
        [[[0, 0], [0, 0]], [[0, 0], [0, 0]]],
        [[[1, 2], [3, 2]], [[-1, -1], [-1, -1]]],
    ]
    assert scores.tolist() == [3.25, 0.25, 1.25]


# ---------------------------------------------------------------- identities


def test_own_activations_lead_to_the_networks_own_output(case: Case) -> None:
    model, name, size_px = case
    images, layer = random_images(3, size_px), layer_of(model, name)
    activations = layer.activations(images)
    scores = layer.scores(images, activations)
    with torch.no_grad():
        outputs = model.eval()(images)
        module = model.get_submodule(name or "features")
        kept: list[Tensor] = []
        with module.register_forward_hook(lambda _, __, output: kept.append(output.clone())):
            model(images)
    assert_array_equal(activations, kept[0])
    assert_allclose(scores.detach(), outputs, rtol=1e-6, atol=1e-6)
    assert_allclose(score_images(model, images), outputs, rtol=1e-6, atol=1e-6)
    assert_allclose(layer.gradients(images)[2], outputs, rtol=1e-6, atol=1e-6)


def test_gradient_is_what_a_small_step_changes(case: Case) -> None:
    model, name, size_px = case
    model = model.double()
    images, layer = random_images(2, size_px).double(), layer_of(model, name)
    activations, gradients, scores = layer.gradients(images)
    assert (gradients != 0).any()
    step = 1e-7 * torch.randn(gradients.shape, generator=torch.Generator().manual_seed(1)).double()
    moved = layer.scores(images, layer.activations(images) + step).detach()
    expected = (gradients.double() * step).sum(dim=(1, 2, 3))
    base = layer.scores(images, layer.activations(images)).detach()
    assert_allclose(moved - base, expected, rtol=1e-4, atol=1e-14)
    assert activations.dtype == scores.dtype == torch.float32


def test_a_hook_on_the_features_gives_what_the_halves_give() -> None:
    model, images = bent_net(), random_images(3, 8)

    class Unknown(nn.Module):  # not a LesionClassifier, so a hook is needed
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, images: Tensor) -> Tensor:
            return self.net(images)

    halves, hooked = layer_of(model), layer_of(Unknown(), "net.features")
    for ours, theirs in zip(halves.gradients(images), hooked.gradients(images), strict=True):
        assert_array_equal(ours, theirs)


def test_scores_are_differentiable_in_the_activations_of_their_own_image_alone(case: Case) -> None:
    model, name, size_px = case
    images, layer = random_images(3, size_px), layer_of(model, name)
    activations = layer.activations(images).requires_grad_()
    (gradient,) = torch.autograd.grad(layer.scores(images, activations)[1], activations)
    assert (gradient[1] != 0).any()
    assert not gradient[[0, 2]].any()
    with torch.no_grad():
        assert not layer.scores(images, activations).requires_grad


def test_nothing_before_the_layer_is_kept_for_a_gradient(case: Case) -> None:
    """What comes before runs without a graph, with or without hooks."""
    model, name, size_px = case
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if model.get_submodule(name or "features") is first:
        return
    graphs: list[bool] = []
    with first.register_forward_hook(lambda _, __, output: graphs.append(output.requires_grad)):
        layer_of(model, name).gradients(random_images(1, size_px))
    assert graphs == [False]


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_is_respected_and_has_no_effect(case: Case, surrounding: Any) -> None:
    model, name, size_px = case
    layer, images = layer_of(model, name), random_images(2, size_px)
    expected = layer.gradients(images)
    with surrounding():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = layer.gradients(images.clone())
        activations = layer.activations(images.clone())
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
    for ours, theirs in zip(found, expected, strict=True):
        assert_array_equal(ours, theirs)
        assert not ours.requires_grad
    assert_array_equal(activations, expected[0])


def test_a_target_chooses_the_score() -> None:
    model, images = TwoClasses().eval(), random_images(3, 8)
    layer = layer_of(model, "block", target=malignant_less_benign)
    with torch.no_grad():
        outputs = model(images)
    assert_allclose(layer.gradients(images)[2], outputs[:, 1] - outputs[:, 0], rtol=1e-6)
    assert_allclose(score_images(model, images, target=malignant_less_benign), outputs[:, 1] - outputs[:, 0], rtol=1e-6)
    halved = layer_of(bent_net(), target=lambda logits: logits / 2)
    assert_allclose(halved.gradients(images)[2], layer_of(bent_net()).gradients(images)[2] / 2, rtol=1e-6)


# ---------------------------------------------------------------- the network is left as it was


def use_all(layer: Layer, images: Tensor) -> None:
    with torch.no_grad():
        layer.scores(images, layer.activations(images))
    layer.gradients(images)


@pytest.mark.parametrize("name", [None, "features.1"])
def test_network_is_left_as_it_was(name: str | None) -> None:
    model = used_net()
    before = state_of(model)
    use_all(layer_of(model, name), random_images(2, 8))
    assert state_of(model) == before


@pytest.mark.parametrize("name", [None, "features.1"])
@pytest.mark.parametrize(
    ("part", "images"),
    [("head", random_images(2, 8)), ("features", random_images(2, 8)), ("", random_images(2, 12))],
)
def test_network_is_left_as_it_was_after_an_exception(name: str | None, part: str, images: Tensor) -> None:
    model = used_net()

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    if part:
        getattr(model, part)[-1].register_forward_pre_hook(fail)
    before = state_of(model)
    layer = layer_of(model, name)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer.gradients(images)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer.scores(images, torch.zeros(2, 4, 3, 3))
    assert state_of(model) == before
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------- refusals


def test_unknown_layers_are_refused_with_the_known_ones() -> None:
    model = bent_net()
    with pytest.raises(
        ConfigError,
        match=r"^LesionClassifier has no layer 'conv5'; layers that give maps: "
        r"features, features\.0, features\.1, features\.3$",
    ):
        layer_of(model, "conv5")


def test_of_many_layers_a_dozen_are_named() -> None:
    with pytest.raises(ConfigError, match="has no layer") as caught:
        layer_of(torchvision.models.resnet18(), "layer5")
    named = str(caught.value).split("give maps: ")[1]
    assert named.startswith("conv1, bn1, maxpool, layer1, layer2, layer3, layer4, layer1.0, ")
    assert named.endswith(" more")
    assert named.count(",") == 11


def test_a_network_without_a_named_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Linear is not a LesionClassifier, so .* name one: none$"):
        layer_of(nn.Linear(3, 1))
    with pytest.raises(
        ConfigError, match=r"^TwoClasses is not a LesionClassifier.* name one: stem, block, block\.0, block\.1"
    ):
        layer_of(TwoClasses())


@pytest.mark.parametrize("name", [None, "features", "head", "head.1"])
def test_outputs_that_are_no_maps_are_refused(name: str | None) -> None:
    model = LesionClassifier(nn.Flatten(), nn.Sequential(nn.Identity(), nn.Linear(192, 1))).train()
    layer = layer_of(model, name)
    for call in (layer.activations, layer.gradients):
        with pytest.raises(
            ConfigError,
            match=r"layer (features|head|head\.1) of LesionClassifier has shape \(2, \d+\), not \(batch, chan",
        ):
            call(random_images(2, 8))
    assert model.features.training
    assert not model.features._forward_hooks


def test_a_layer_that_runs_twice_or_never_is_refused() -> None:
    model = TwoClasses()
    with pytest.raises(
        ConfigError, match="layer bend of TwoClasses runs 2 times in a forward pass, so it is not clear"
    ):
        layer_of(model, "bend", target=malignant_less_benign).gradients(random_images(1, 8))
    model.spare = nn.Conv2d(3, 4, 1)
    layer = layer_of(model, "spare", target=malignant_less_benign)
    for call in (layer.activations, layer.gradients):
        with pytest.raises(ConfigError, match="layer spare of TwoClasses runs 0 times in a forward pass"):
            call(random_images(1, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_outputs_that_are_no_score_are_refused() -> None:
    images = random_images(3, 8)
    with pytest.raises(ConfigError, match=r"output of TwoClasses has shape \(3, 2\), not one score .* give a target"):
        layer_of(TwoClasses(), "block").gradients(images)
    with pytest.raises(
        ConfigError, match=r"the target's result has shape \(3, 2\), not one score for each of 3 images"
    ):
        score_images(TwoClasses(), images, target=lambda outputs: outputs)

    class Wrapped(TwoClasses):
        def forward(self, images: Tensor) -> Any:
            return {"logits": super().forward(images)}

    with pytest.raises(ConfigError, match=r"output of Wrapped has type dict, not one score"):
        layer_of(Wrapped(), "block").gradients(images)
    found = layer_of(Wrapped(), "block", target=lambda output: output["logits"][:, 0]).gradients(images)
    assert found[2].shape == (3,)


def test_a_score_that_does_not_depend_on_the_layer_is_refused() -> None:
    class Frozen(TwoClasses):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(images)

    class Beside(TwoClasses):
        def forward(self, images: Tensor) -> Tensor:
            self.block(self.stem(images))
            return self.classify(self.stem(images).mean(dim=(2, 3)))

    for model in (Frozen(), Beside()):
        with pytest.raises(ConfigError, match=r"has no gradient with respect to layer block; name a layer on the way"):
            layer_of(model, "block", target=malignant_less_benign).gradients(random_images(2, 8))
