"""Heat maps by hand, against two public tools and slow references, and by what must not change them."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from numpy.testing import assert_allclose, assert_array_equal
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
from torch import Tensor, nn

from lentigo.config import ModelConfig
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.explain.cam import DECISION_SIGN, GradCam, explain_images, signed_grad_cam
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model
from tests import reference


def random_images(count: int, size_px: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def untrained(name: str, size_px: int, **options: float) -> LesionClassifier:
    settings = Preprocessing(resize_px=size_px, crop_px=None)
    return create_model(ModelConfig(name=name, options=options), settings, seed=3)


def tiny_vgg() -> LesionClassifier:
    return untrained("tiny_vgg", 24, width=4)


def bent_net() -> LesionClassifier:
    """Batch norm and dropout, and a head whose gradient depends on the image; for images of 8 px."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        head = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 1))
        return LesionClassifier(features, head)


# ---------------------------------------------------------------- by hand


def hand_net() -> LesionClassifier:
    features = nn.Conv2d(3, 2, kernel_size=1, bias=False)  # A1 = red, A2 = blue
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 1, bias=False), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]]).reshape(2, 3, 1, 1))
        head[1].weight.copy_(torch.tensor([[1.0, 2, 3, 2, -1, -1, -1, -1]]))
        head[3].weight.fill_(1)
        head[3].bias.fill_(0.25)
    return LesionClassifier(features, head)


def hand_images() -> Tensor:
    images = torch.zeros(3, 3, 2, 2)
    images[0, 0], images[0, 2] = torch.tensor([[1.0, 0], [2, 0]]), torch.tensor([[0.0, 3], [1, 0]])
    images[1, 2] = torch.tensor([[0.0, 3], [0, 0]])
    images[2, 0] = torch.tensor([[1.0, 0], [0, 0]])
    return images


def test_maps_worked_out_by_hand() -> None:
    # Image 0: hidden = (1*1 + 3*2) - (3 + 1) = 3, above 0, so the ReLU lets the gradient through and it is the weights:
    # alpha_1 = (1 + 2 + 3 + 2) / 4 = 2, alpha_2 = -1, map = 2 [[1, 0], [2, 0]] - [[0, 3], [1, 0]] = [[2, -3], [3, 0]].
    # Image 1: hidden = -3, the ReLU is dead, the gradient 0. Image 2: hidden = 1, map = 2 [[1, 0], [0, 0]].
    found = signed_grad_cam(hand_net(), hand_images())
    assert found.maps.tolist() == [[[2, -3], [3, 0]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]]
    assert found.logits.tolist() == [3.25, 0.25, 1.25]
    assert found.positive("malignant").tolist() == [[[2, 0], [3, 0]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]]
    assert found.positive("benign").tolist() == [[[0, 3], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert found.empty("malignant").tolist() == [False, True, False]
    assert found.empty("benign").tolist() == [False, True, True]


# ---------------------------------------------------------------- against references


@pytest.mark.parametrize(("make", "size_px"), [(hand_net, 2), (bent_net, 8), (tiny_vgg, 24)])
def test_maps_equal_nudging_every_cell(make: Any, size_px: int) -> None:
    model, images = make(), random_images(2, size_px, seed=7)
    found = signed_grad_cam(model, images)
    exact = copy.deepcopy(model).double().eval()

    def logit(features: list[list[list[float]]]) -> float:
        with torch.no_grad():
            return exact.head(torch.tensor([features], dtype=torch.float64)).item()

    for image, heat in zip(images, found.maps, strict=True):
        with torch.no_grad():
            features = exact.features(image.double()[None])[0].tolist()
        assert_allclose(heat, reference.grad_cam(features, logit), rtol=1e-5, atol=1e-6)


def grad_cam_package(model: nn.Module, layer: nn.Module, images: Tensor, category: int) -> np.ndarray:
    """The package's map before its ReLU and its stretching to [0, 1]."""
    targets = [BinaryClassifierOutputTarget(category)] * len(images)
    with GradCAM(model, [layer]) as cam:
        cam(images, targets)
        activations, gradients = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
        return cam.get_cam_image(images, layer, targets, activations.numpy(), gradients.numpy())


@pytest.mark.parametrize(
    ("name", "size_px", "options"),
    [
        ("tiny_vgg", 64, {}),
        ("alexnet", 224, {}),
        ("vgg11", 96, {"width": 0.125}),
        pytest.param("vgg11", 224, {}, marks=pytest.mark.slow),
    ],
)
def test_maps_equal_public_tools(name: str, size_px: int, options: dict[str, float]) -> None:
    model, images = untrained(name, size_px, **options), random_images(2, size_px, seed=1)
    found = signed_grad_cam(model, images)
    model.eval()
    scale = found.maps.abs().max().item()  # untrained maps are small: "within 1e-4" of the largest value, not of 1
    assert scale > 0
    for decision, category in (("malignant", 1), ("benign", 0)):
        sign = DECISION_SIGN[decision]
        package = grad_cam_package(model, model.features, images, category)
        assert_allclose(found.maps.numpy() * sign / scale, package / scale, rtol=0, atol=1e-4)
        captum = LayerGradCam(lambda x, sign=sign: sign * model(x), model.features)
        theirs = captum.attribute(images, relu_attributions=True)[:, 0].detach().numpy()
        assert_allclose(found.positive(decision).numpy() / scale, theirs / scale, rtol=0, atol=1e-4)
        assert_array_equal(found.empty(decision), (theirs <= 0).all(axis=(1, 2)))


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("factor", [0.5, 3.0, -1.0, -2.0])
def test_scaling_the_last_layer_scales_the_map_and_a_flip_swaps_the_decisions(factor: float) -> None:
    model, images = bent_net(), random_images(4, 8)
    before = signed_grad_cam(model, images)
    with torch.no_grad():
        for parameter in model.head[-1].parameters():
            parameter.mul_(factor)
    after = signed_grad_cam(model, images)
    assert_allclose(after.maps, factor * before.maps, rtol=1e-5, atol=1e-7)
    assert_allclose(after.logits, factor * before.logits, rtol=1e-5, atol=1e-7)
    if factor < 0:
        assert_allclose(after.positive("benign"), -factor * before.positive("malignant"), rtol=1e-5, atol=1e-7)
        assert_array_equal(after.empty("malignant"), before.empty("benign"))


def test_signed_map_is_the_difference_of_the_two_decisions() -> None:
    found = signed_grad_cam(tiny_vgg(), random_images(5, 24))
    assert_array_equal(found.positive("malignant") - found.positive("benign"), found.maps)
    assert not ((found.positive("malignant") > 0) & (found.positive("benign") > 0)).any()


@pytest.mark.parametrize(("make", "size_px"), [(bent_net, 8), (tiny_vgg, 24)])
def test_map_does_not_depend_on_the_batch(make: Any, size_px: int) -> None:
    model, images = make(), random_images(5, size_px)
    whole = signed_grad_cam(model, images)
    for index in range(5):
        alone = signed_grad_cam(model, images[index : index + 1])
        assert_allclose(alone.maps[0], whole.maps[index], rtol=1e-5, atol=1e-7)
        assert_allclose(alone.logits[0], whole.logits[index], rtol=1e-5, atol=1e-7)


def test_dropout_and_batch_statistics_have_no_effect() -> None:
    model, images = bent_net().train(), random_images(3, 8)
    training = signed_grad_cam(model, images)
    model.head[2] = nn.Identity()
    assert_array_equal(training.maps, signed_grad_cam(model.eval(), images).maps)
    with torch.no_grad():
        assert_array_equal(training.logits, model(images))


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_is_respected_and_has_no_effect(surrounding: Any) -> None:
    model, images = bent_net(), random_images(3, 8)
    expected = signed_grad_cam(model, images)
    with surrounding():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = signed_grad_cam(model, images.clone())
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
    assert_array_equal(found.maps, expected.maps)
    assert not found.maps.requires_grad
    assert not found.logits.requires_grad


def test_a_head_that_starts_in_place_changes_nothing() -> None:
    model, images = hand_net(), hand_images() - 0.5  # negative features, which the ReLU would overwrite
    expected = []
    for in_place in (False, True):
        head = nn.Sequential(nn.ReLU(inplace=in_place), *hand_net().head)
        expected.append(signed_grad_cam(LesionClassifier(model.features, head), images).maps)
    assert_array_equal(*expected)
    assert (expected[0] != 0).any()


# ---------------------------------------------------------------- the model is left as it was


def state_of(model: nn.Module) -> list[Any]:
    """All that a careless tool leaves behind; torch counts in _version every write to a tensor."""
    modules = [
        (module.training, {key: dict(value) for key, value in vars(module).items() if key.endswith("_hooks")})
        for module in model.modules()
    ]
    tensors = [*model.parameters(), *model.buffers()]
    gradients = [tensor.grad for tensor in tensors]
    return [
        modules,
        [(id(tensor), tensor._version, tensor.requires_grad, tensor._backward_hooks) for tensor in tensors],
        [None if gradient is None else (id(gradient), gradient._version) for gradient in gradients],
        torch.random.get_rng_state().tolist(),
    ]


def used_net() -> LesionClassifier:
    """In the middle of a training: mixed modes, a frozen layer, gradients on some parameters, a hook of the user's."""
    model = bent_net().train()
    model.features[1].eval()
    model.features[0].weight.requires_grad_(False)
    model.head[1].weight.grad = torch.ones_like(model.head[1].weight)
    model.head[0].register_forward_hook(lambda *_: None)
    return model


def test_model_is_left_as_it_was() -> None:
    model = used_net()
    before = state_of(model)
    signed_grad_cam(model, random_images(2, 8))
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("part", "images"),
    [
        ("head", random_images(2, 8)),
        ("features", random_images(2, 8)),
        ("", random_images(2, 9 + 3)),  # the head's linear layer does not fit
        ("", random_images(2, 8) * torch.nan),
    ],
)
def test_model_is_left_as_it_was_after_an_exception(part: str, images: Tensor) -> None:
    model = used_net()

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    if part:
        getattr(model, part)[-1].register_forward_pre_hook(fail)
    before = state_of(model)
    with pytest.raises((RuntimeError, RunError), match=r"shapes cannot be multiplied|not finite"):
        signed_grad_cam(model, images)
    assert state_of(model) == before
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------- refusals


def test_refuses_a_model_without_a_named_layer() -> None:
    with pytest.raises(ConfigError, match=r"^Linear is not a LesionClassifier.*wrap it as LesionClassifier\(features"):
        signed_grad_cam(nn.Linear(3, 1), random_images(1, 8))


def test_refuses_features_that_are_no_maps() -> None:
    model = LesionClassifier(nn.Flatten(), nn.Linear(192, 1)).train()
    with pytest.raises(
        ConfigError, match=r"LesionClassifier have shape \(2, 192\), not \(batch, channels, rows, columns"
    ):
        signed_grad_cam(model, random_images(2, 8))
    assert model.features.training


def test_refuses_maps_that_are_not_finite() -> None:
    images = random_images(4, 8)
    images[2, 0, 0, 0] = torch.nan
    with pytest.raises(RunError, match=r"images \[2\] of a batch of 4 are not finite"):
        signed_grad_cam(bent_net(), images)


# ---------------------------------------------------------------- many batches


def test_explain_images_joins_batches_in_order() -> None:
    model, images, done = bent_net(), random_images(7, 8), []

    def batches() -> Iterator[Tensor]:
        for start in (0, 3, 6):
            assert sum(done) == start  # a batch is asked for once the one before it is explained
            yield images[start : start + 3]

    maps, logits = explain_images(model, batches(), on_progress=done.append)
    whole: GradCam = signed_grad_cam(model, images)
    assert_allclose(maps, whole.maps, rtol=1e-5, atol=1e-7)
    assert_allclose(logits, whole.logits, rtol=1e-5, atol=1e-7)
    assert done == [3, 3, 1]


def test_explain_images_refuses_nothing_and_mixed_sizes() -> None:
    with pytest.raises(DataError, match="found no image to explain"):
        explain_images(bent_net(), [])
    any_size = LesionClassifier(
        nn.Conv2d(3, 2, 1), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    )
    with pytest.raises(DataError, match=r"maps of the sizes .*4, 4.*5, 5.*all in one size"):
        explain_images(any_size, [random_images(1, 4), random_images(1, 5)])
