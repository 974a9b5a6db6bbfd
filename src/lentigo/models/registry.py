"""The registered networks: name, options, preprocessing, and how one is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.errors import ConfigError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from lentigo.models.contract import LesionClassifier, seeded_torch
from lentigo.models.lesion_unet import LesionUNet, build_lesion_unet
from lentigo.models.tiny_vgg import build_tiny_vgg
from lentigo.models.torchvision_models import build_alexnet, build_resnet, build_vgg11

Network = LesionClassifier | LesionUNet
Options = Mapping[str, int | float]
IMAGENET = Preprocessing(resize_px=256, crop_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a network: its default, whose type it must have, and the closed range it may take."""

    default: int | float
    low: int | float
    high: int | float


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A registered network: what `lentigo models` shows, and how it is built."""

    title: str
    build: Callable[[Options, str, int], Network]  # options, weights, height and width of the input
    task: Literal["classification", "segmentation"] = "classification"  # one logit an image, or one a pixel
    preprocessing: Preprocessing = IMAGENET
    options: dict[str, Option] = field(default_factory=dict)
    min_input_px: int = 8
    micro_batch_size: int = 0  # pieces in which a processor takes a batch; 0: the whole batch
    published_weights: bool = True


# From 33 px on the last stage has 2x2 cells, so that batch normalisation has something to normalise in the paper's
# last training batch, which holds one image (7,745 = 242 * 32 + 1).
_RESNET_MIN_PX = 33
_WIDTH = {"width": Option(default=1.0, low=0.03125, high=4.0)}
MODELS: dict[str, ModelEntry] = {
    "tiny_vgg": ModelEntry(
        title="Tiny VGG",
        build=lambda o, _, px: build_tiny_vgg(blocks=int(o["blocks"]), width=int(o["width"]), input_px=px),
        preprocessing=Preprocessing(resize_px=300, crop_px=None),
        options={
            "blocks": Option(default=2, low=1, high=6),
            "width": Option(default=10, low=1, high=256),
            "image_px": Option(default=300, low=8, high=2048),
        },
        published_weights=False,
        micro_batch_size=8,  # a quarter of the maps in memory at once, in about the same time; the gradient is the same
    ),
    "vgg11": ModelEntry(
        title="VGG11",
        build=lambda o, weights, _: build_vgg11(width=float(o["width"]), weights=weights),
        options=_WIDTH,
        min_input_px=32,
    ),
    "alexnet": ModelEntry(
        title="AlexNet",
        build=lambda o, weights, _: build_alexnet(width=float(o["width"]), weights=weights),
        options=_WIDTH,
        min_input_px=63,
    ),
    "resnet18": ModelEntry(
        title="ResNet-18",
        build=lambda _, weights, __: build_resnet("resnet18", weights=weights),
        min_input_px=_RESNET_MIN_PX,
    ),
    "resnet101": ModelEntry(
        title="ResNet-101",
        build=lambda _, weights, __: build_resnet("resnet101", weights=weights),
        min_input_px=_RESNET_MIN_PX,
    ),
}
SEGMENTERS: dict[str, ModelEntry] = {  # apart, since they find the lesion and score no image
    "lesion_unet": ModelEntry(
        title="Lesion U-Net",
        build=lambda o, _, px: build_lesion_unet(width=int(o["width"]), stages=int(o["stages"]), input_px=px),
        task="segmentation",
        preprocessing=Preprocessing(resize_px=128, crop_px=None, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        options={"width": Option(default=16, low=2, high=128), "stages": Option(default=5, low=2, high=7)},
        published_weights=False,
    ),
}


def model_entry(name: str) -> ModelEntry:
    """The registered network of that name, a classifier or a segmenter.

    Raises: ConfigError: there is none; the known names are listed.
    """
    entries = MODELS | SEGMENTERS
    if name not in entries:
        raise ConfigError(f"model.name is {name!r}; registered are {', '.join(entries)}")
    return entries[name]


def classifier_entry(name: str) -> ModelEntry:
    """The registered classifier of that name.

    Raises: ConfigError: there is none, or it is a segmenter.
    """
    entry = model_entry(name)
    if entry.task != "classification":
        raise ConfigError(f"{name} finds lesions and scores no image; use a classifier: {', '.join(MODELS)}")
    return entry


def resolve_preprocessing(model: ModelConfig, override: PreprocessingConfig) -> Preprocessing:
    """The preprocessing of a model: its own, with what the [preprocessing] table changes.

    Raises: ConfigError: no fixed size comes out, or one too small for the network.
    """
    entry, options = model_entry(model.name), _options(model)
    default = entry.preprocessing
    if "image_px" in options:
        default = Preprocessing(resize_px=int(options["image_px"]), crop_px=None, mean=default.mean, std=default.std)
    settings = override.applied_to(default)
    if settings.output_px is None or settings.output_px < entry.min_input_px:
        raise ConfigError(
            f"{model.name} needs images of at least {entry.min_input_px} px, preprocessing gives {settings.output_px}; "
            "raise preprocessing.resize_px or crop_px"
        )
    if entry.task == "segmentation" and settings.crop_px is not None:
        raise ConfigError(
            f"preprocessing.crop_px is {settings.crop_px}, but {model.name} looks at the whole image; leave it out and "
            "set resize_px"
        )
    if model.options.get("image_px", settings.output_px) != settings.output_px:
        raise ConfigError(
            f"model.options.image_px is {model.options['image_px']} but [preprocessing] gives {settings.output_px} px; "
            "leave one of the two out"
        )
    return settings


def create_model(model: ModelConfig, preprocessing: Preprocessing, *, seed: int) -> Network:
    """Build a network with initial weights that derive from `seed` alone, or with published ones.

    Raises: ConfigError: unknown name or option, value out of range, no published weights.
    """
    entry, options = model_entry(model.name), _options(model)
    if model.weights == "imagenet" and not entry.published_weights:
        raise ConfigError(f'{model.name} has no published weights; use weights = "none"')
    with seeded_torch(seed, 0x1717):
        return entry.build(options, model.weights, preprocessing.output_px or 0)


def _options(model: ModelConfig) -> dict[str, int | float]:
    entry = model_entry(model.name)
    values: dict[str, int | float] = {name: option.default for name, option in entry.options.items()}
    for name, value in model.options.items():
        if name not in entry.options:
            known = ", ".join(entry.options) or "none"
            raise ConfigError(f"model.options.{name} is unknown; options of {model.name}: {known}")
        option = entry.options[name]
        if not option.low <= value <= option.high or (isinstance(option.default, int) and value != int(value)):
            kind = "a whole number" if isinstance(option.default, int) else "a number"
            raise ConfigError(f"model.options.{name} is {value}, not {kind} in [{option.low:g}, {option.high:g}]")
        values[name] = value
    return values
