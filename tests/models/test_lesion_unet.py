"""The segmenter keeps its contract: one logit a pixel, from near and far, and nothing of another image in it."""

import pytest
import torch
from torch import nn

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.errors import ConfigError
from lentigo.imaging import Preprocessing
from lentigo.models.contract import evaluating, trainable_parameters
from lentigo.models.costs import multiply_adds
from lentigo.models.lesion_unet import MOST_CHANNELS, LesionUNet
from lentigo.models.registry import (
    MODELS,
    SEGMENTERS,
    classifier_entry,
    create_model,
    model_entry,
    resolve_preprocessing,
)
from tests.models.helpers import noise

SMALL = {"width": 4, "stages": 3}


def unet(seed: int = 0, size_px: int = 32, **options: int) -> LesionUNet:
    config = ModelConfig(name="lesion_unet", options={**SMALL, **options})
    model = create_model(config, Preprocessing(resize_px=size_px, crop_px=None), seed=seed)
    assert isinstance(model, LesionUNet)
    return model


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 24)])
def test_images_become_one_float32_logit_a_pixel(height: int, width: int) -> None:
    model, images = unet(), torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(1))
    with evaluating(model):
        logits = model(images)
    assert (logits.shape, logits.dtype) == ((3, height, width), torch.float32)
    assert torch.isfinite(logits).all()
    assert all(len(of_image.unique()) > 100 for of_image in logits)


def test_an_image_does_not_change_its_neighbours_logits() -> None:
    model, images = unet(), noise(4, 32)
    with evaluating(model), torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=float(1e-5 * together.abs().max()))


def test_a_pixel_s_logit_hangs_on_the_whole_image_and_most_on_its_surroundings() -> None:
    """32 px in three stages: the coarsest cells are 8 px wide, and two convolutions there see all of them."""
    model, images = unet(), noise(1, 32).requires_grad_()
    with evaluating(model):
        model(images)[0, 8, 8].backward()
    assert images.grad is not None
    reach = images.grad.abs().sum(dim=(0, 1))
    assert reach[:24, :24].all()
    assert reach[4:12, 4:12].mean() > 5 * reach[20:28, 20:28].mean()


def test_the_gradient_reaches_every_parameter_also_in_a_batch_of_one() -> None:
    model = unet(size_px=16)
    model.train()
    model(noise(1, 16)).square().mean().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_initial_weights_derive_from_the_seed_alone() -> None:
    torch.manual_seed(3)
    first, second, other = (unet(seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def block_parameters(before: int, after: int) -> int:
    convolutions = 9 * before * after + 9 * after * after + (before * after if before != after else 0)
    return convolutions + 4 * after  # two normalisations of a scale and a shift each


def test_parameters_and_cost_by_hand() -> None:
    """Widths 4, 8, 16 on the way down, 8 and 4 on the way up; the sides are 16, 8 and 4 for an image of 32 px."""
    model = unet()
    stem, head = 3 * 4 * 25 + 8, 5
    blocks = [(4, 4), (4, 8), (8, 16), (16 + 8, 8), (8 + 4, 4)]
    assert trainable_parameters(model) == stem + head + sum(block_parameters(*pair) for pair in blocks)
    cells = [16**2, 8**2, 4**2, 8**2, 16**2]
    costs = [(block_parameters(*pair) - 4 * pair[1]) * count for pair, count in zip(blocks, cells, strict=True)]
    assert multiply_adds(model, Preprocessing(resize_px=32, crop_px=None)) == (300 + 4) * 16**2 + sum(costs)


def test_the_registered_size() -> None:
    config = ModelConfig(name="lesion_unet")
    preprocessing = resolve_preprocessing(config, PreprocessingConfig())
    model = create_model(config, preprocessing, seed=0)
    assert preprocessing.output_px == 128
    assert max(layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)) == MOST_CHANNELS
    assert trainable_parameters(model) == 1_289_057
    assert multiply_adds(model, preprocessing) == 225_705_984


# ---------------------------------------------------------------- registry


def test_segmenters_stand_apart_from_classifiers() -> None:
    assert not set(MODELS) & set(SEGMENTERS)
    assert {entry.task for entry in MODELS.values()} == {"classification"}
    assert {entry.task for entry in SEGMENTERS.values()} == {"segmentation"}
    assert model_entry("lesion_unet") is SEGMENTERS["lesion_unet"]
    assert classifier_entry("vgg11") is MODELS["vgg11"]
    with pytest.raises(
        ConfigError, match=r"^lesion_unet finds lesions and scores no image; use a classifier: tiny_vgg"
    ):
        classifier_entry("lesion_unet")


def test_a_crop_is_refused() -> None:
    message = r"^preprocessing.crop_px is 96, but lesion_unet looks at the whole image; leave it out and set resize_px$"
    with pytest.raises(ConfigError, match=message):
        resolve_preprocessing(ModelConfig(name="lesion_unet"), PreprocessingConfig(resize_px=128, crop_px=96))


def test_an_image_too_small_for_the_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match="lesion_unet with 5 stages needs images of at least 64 px, found 48; lower"):
        unet(size_px=48, stages=5)
