"""Every registered network keeps the contract; the paper's networks are the ones it draws, to the last parameter."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.data.batches import preprocess_batch
from lentigo.errors import ConfigError
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier, evaluating, seeded_torch, split_at_cam, trainable_parameters
from lentigo.models.registry import MODELS, create_model, model_entry, resolve_preprocessing
from tests.models.helpers import full_size_on_meta, noise, small_model


@pytest.fixture(params=list(MODELS))
def small(request: pytest.FixtureRequest) -> tuple[LesionClassifier, Preprocessing]:
    return small_model(request.param)


Small = tuple[LesionClassifier, Preprocessing]


def test_images_become_one_float32_logit_each(small: Small) -> None:
    model, preprocessing = small
    generator = torch.Generator().manual_seed(1)
    photos = torch.randint(0, 256, (3, 3, 50, 50), dtype=torch.uint8, generator=generator)
    images = preprocess_batch(photos, preprocessing)
    assert images.shape == (3, 3, preprocessing.output_px, preprocessing.output_px)
    with evaluating(model):
        logits = model(images)
    assert logits.shape == (3,)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert len(logits.unique()) == 3


def test_features_then_head_is_the_whole(small: Small) -> None:
    model, preprocessing = small
    images = noise(2, preprocessing.output_px or 0)
    features, head = split_at_cam(model)
    with evaluating(model):
        maps = features(images)
        assert maps.ndim == 4
        assert torch.equal(head(maps)[:, 0], model(images))


def test_an_image_does_not_change_its_neighbours_logit(small: Small) -> None:
    model, preprocessing = small
    images = noise(4, preprocessing.output_px or 0)
    with evaluating(model), torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
        images[1:] = 0
        changed = model(images)
    scale = together.abs().max()
    torch.testing.assert_close(together, alone, rtol=0, atol=float(1e-5 * scale))
    torch.testing.assert_close(together[0], changed[0], rtol=0, atol=float(1e-5 * scale))
    assert not torch.allclose(together[1:], changed[1:])


def test_the_gradient_reaches_every_trainable_parameter(small: Small) -> None:
    model, preprocessing = small
    model.train()
    with seeded_torch(5):
        model(noise(4, preprocessing.output_px or 0)).sum().backward()
    without = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []
    assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("name", list(MODELS))
def test_state_dict_round_trip(name: str) -> None:
    one, preprocessing = small_model(name, seed=1)
    other, _ = small_model(name, seed=2)
    images = noise(2, preprocessing.output_px or 0)
    with evaluating(one), evaluating(other), torch.no_grad():
        assert not torch.equal(one(images), other(images))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("name", list(MODELS))
def test_initial_weights_derive_from_the_seed_alone(name: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = small_model(name, seed=7)[0].state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second = small_model(name, seed=7)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = small_model(name, seed=8)[0].state_dict()
    assert [
        key for key in first if key.endswith("weight") and first[key].ndim > 1 and torch.equal(first[key], other[key])
    ] == []


@pytest.mark.parametrize("name", list(MODELS))
def test_the_smallest_input_trains_and_a_smaller_one_is_refused(name: str) -> None:
    entry = model_entry(name)
    config = ModelConfig(name=name, options={key: entry.options[key].low for key in entry.options if key == "width"})
    smallest = PreprocessingConfig(resize_px=entry.min_input_px)
    model = create_model(config, resolve_preprocessing(config, smallest), seed=0)
    model.train()
    model(noise(1, entry.min_input_px)).sum().backward()  # the paper's last batch holds one image
    if entry.min_input_px > 8:  # the least that [preprocessing] allows
        with pytest.raises(ConfigError, match=f"{name} needs images of at least {entry.min_input_px} px, .* raise"):
            resolve_preprocessing(config, PreprocessingConfig(resize_px=entry.min_input_px - 1))


@pytest.mark.parametrize(
    ("name", "size_px", "cells", "channels"),
    [
        ("tiny_vgg", 300, 75, 10),
        ("vgg11", 224, 7, 512),
        ("alexnet", 224, 6, 256),
        ("resnet18", 224, 7, 512),
        ("resnet101", 224, 7, 2048),
    ],
)
def test_input_and_heat_map_have_the_papers_sizes(name: str, size_px: int, cells: int, channels: int) -> None:
    model, preprocessing = full_size_on_meta(name)
    assert preprocessing.output_px == size_px
    maps = split_at_cam(model)[0](torch.empty(2, 3, size_px, size_px, device="meta"))
    assert maps.shape == (2, channels, cells, cells)
    assert getattr(model, model.cam_layer) is model.features


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("tiny_vgg", 59_261),
        ("vgg11", 128_770_433),
        ("alexnet", 57_007_937),
        ("resnet18", 11_689_512 - 999 * 513),
        ("resnet101", 44_549_160 - 999 * 2049),
    ],
)
def test_trainable_parameters(name: str, count: int) -> None:
    assert trainable_parameters(full_size_on_meta(name)[0]) == count


def test_frozen_parameters_do_not_count() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert trainable_parameters(model) == 6


def figure_ten(blocks: int, width: int, input_px: int) -> nn.Sequential:
    """Fig. 10 as it is drawn: each ReLU straight after its convolution, then the pooling."""
    layers: list[nn.Module] = []
    for block in range(blocks):
        layers += [nn.Conv2d(3 if block == 0 else width, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (input_px // 2**blocks) ** 2, 1))


@pytest.mark.parametrize(("blocks", "width", "input_px"), [(2, 10, 60), (1, 3, 9), (3, 4, 21)])
def test_tiny_vgg_is_the_figure_exactly(blocks: int, width: int, input_px: int) -> None:
    options = {"blocks": blocks, "width": width, "image_px": input_px}
    config = ModelConfig(name="tiny_vgg", options=options)
    model = create_model(config, resolve_preprocessing(config, PreprocessingConfig()), seed=1)
    figure = figure_ten(blocks, width, input_px)
    figure.load_state_dict(dict(zip(figure.state_dict(), model.state_dict().values(), strict=True)))
    images = noise(5, input_px).requires_grad_()
    copies = images.detach().clone().requires_grad_()
    ours, drawn = model(images), figure(copies)[:, 0]
    assert torch.equal(ours, drawn)
    ours.square().sum().backward()
    drawn.square().sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, copies.grad)
    for mine, theirs in zip(model.parameters(), figure.parameters(), strict=True):
        assert mine.grad.any()
        assert torch.equal(mine.grad, theirs.grad)


def torchvisions_own(name: str, weights: dict[str, Tensor]) -> nn.Module:
    """torchvision's network with one output, holding these weights without a copy."""
    with torch.device("meta"):
        network = torchvision.models.get_model(name, num_classes=1)
    state = {f"classifier.{key.removeprefix('head.2.')}" if "head" in key else key: weights[key] for key in weights}
    network.load_state_dict(state, assign=True)
    return network


@pytest.mark.parametrize(("name", "size_px"), [("alexnet", 224), ("vgg11", 96)])
def test_network_equals_torchvisions_own(name: str, size_px: int) -> None:
    config = ModelConfig(name=name)
    model = create_model(config, resolve_preprocessing(config, PreprocessingConfig()), seed=0)
    own = torchvisions_own(name, model.state_dict())
    images = noise(2, size_px)
    with evaluating(model), evaluating(own), torch.no_grad():
        assert torch.equal(model(images), own(images)[:, 0])
    model.train()
    own.train()
    with torch.no_grad():
        with seeded_torch(1):
            ours = model(images)
        with seeded_torch(1):
            theirs = own(images)[:, 0]
    assert torch.equal(ours, theirs)  # dropout stands in the same places


def test_resnet_equals_torchvisions_own() -> None:
    model, _ = small_model("resnet18")
    own = torchvision.models.resnet18(num_classes=1)
    own.load_state_dict(dict(zip(own.state_dict(), model.state_dict().values(), strict=True)))
    images = noise(3, 64)
    assert torch.equal(model(images), own(images)[:, 0])


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_width_scales_every_inner_layer(name: str) -> None:
    whole, narrow = full_size_on_meta(name)[0], small_model(name)[0]
    for full, part in zip(whole.parameters(), narrow.parameters(), strict=True):
        outputs = 1 if len(full) == 1 else len(full) // 16
        inputs = [3 if count == 3 else count // 16 for count in full.shape[1:2]]
        assert list(part.shape) == [outputs, *inputs, *full.shape[2:]]


def test_narrow_vgg_is_initialised_as_torchvision_does() -> None:
    config = ModelConfig(name="vgg11", options={"width": 0.25})
    model = create_model(config, Preprocessing(resize_px=32, crop_px=None), seed=0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * 9
            assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        if isinstance(layer, nn.Linear):
            assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="vgg19"), "name is 'vgg19'; registered are tiny_vgg, vgg11, alexnet, resnet18, resnet101"),
        (ModelConfig(options={"depth": 3}), "options.depth is unknown; options of tiny_vgg: blocks, width, image_px"),
        (ModelConfig(name="resnet18", options={"width": 1}), "options of resnet18: none"),
        (ModelConfig(options={"blocks": 7}), r"model.options.blocks is 7, not a whole number in \[1, 6\]"),
        (ModelConfig(options={"blocks": 1.5}), r"model.options.blocks is 1.5, not a whole number in \[1, 6\]"),
        (ModelConfig(name="alexnet", options={"width": 5}), r"options.width is 5, not a number in \[0.03125, 4\]"),
    ],
)
def test_unknown_name_or_option_is_refused(config: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_preprocessing(config, PreprocessingConfig())
    with pytest.raises(ConfigError, match=message):
        create_model(config, Preprocessing(resize_px=64, crop_px=None), seed=0)


def test_too_many_blocks_are_refused() -> None:
    config = ModelConfig(options={"blocks": 6, "image_px": 63})
    with pytest.raises(ConfigError, match="tiny_vgg with 6 blocks needs images of at least 64 px, found 63"):
        create_model(config, resolve_preprocessing(config, PreprocessingConfig()), seed=0)


def test_two_sizes_that_differ_are_refused() -> None:
    config = ModelConfig(options={"image_px": 64})
    with pytest.raises(ConfigError, match=r"image_px is 64 but \[preprocessing\] gives 300 px; leave one"):
        resolve_preprocessing(config, PreprocessingConfig(resize_px=300))
    assert resolve_preprocessing(config, PreprocessingConfig(resize_px=64)).output_px == 64
