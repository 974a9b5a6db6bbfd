"""The experiment: everything that decides what a training computes, read from one TOML file.

An unknown key, a wrong type or a value out of range is refused with its full name, what was found and what is allowed.
"""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from lentigo.errors import ConfigError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

PROTOCOLS = ("paper", "paper-grouped", "stratified", "grouped", "folders")
SOURCE_PROTOCOLS = ("hold-out-source", "within-source")  # written with =NAME, one of the table's sources
ALLOWED_PROTOCOLS = f"{', '.join(PROTOCOLS)}, {' or '.join(f'{kind}=NAME' for kind in SOURCE_PROTOCOLS)}"
_LARGEST = 2**63 - 1  # of TOML's whole numbers


def is_protocol(text: str) -> bool:
    """Whether a split protocol is written like this; whether the data have the source it names is not known here."""
    kind, equals, source = text.partition("=")
    return kind in SOURCE_PROTOCOLS and bool(source.strip()) if equals else kind in PROTOCOLS


def _protocol(value: Any) -> str:
    if isinstance(value, str) and is_protocol(value):
        return value
    raise PydanticCustomError("protocol", f"Input should be {ALLOWED_PROTOCOLS}")


def _number(value: Any) -> int | float:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or (isinstance(value, float) and math.isfinite(value)):
        number: int | float = value
        return number
    raise PydanticCustomError("number", "Input should be a finite number")


Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=_LARGEST)]
Number = Annotated[int | float, PlainValidator(_number)]  # one message instead of one for int and one for float
Protocol = Annotated[str, PlainValidator(_protocol)]


class _Table(BaseModel):
    """A TOML table: unknown keys refused, no value coerced from a string, all numbers finite, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(_Table):
    """The [data] table."""

    image_px: Annotated[int, Field(ge=16, le=2048)] = 300  # every image is packed at this height and width


class SplitConfig(_Table):
    """The [split] table: which images train, validate and test."""

    protocol: Protocol = "stratified"
    seed: Seed = 0
    validation_fraction: Fraction = 0.1  # of the images that are not test images
    test_fraction: Fraction = 0.2  # of all images that the protocol uses

    @property
    def kind(self) -> str:
        """The protocol without the source that it may name."""
        return self.protocol.partition("=")[0]

    @property
    def source(self) -> str:
        """The source that the protocol names; empty for one that names none."""
        return self.protocol.partition("=")[2]


class ModelConfig(_Table):
    """The [model] table; the options are the model's own, see `lentigo models`."""

    name: str = "tiny_vgg"
    weights: Literal["none", "imagenet"] = "none"
    options: dict[str, Number] = {}


class PreprocessingConfig(_Table):
    """The [preprocessing] table; a key left out keeps the model's own setting."""

    resize_px: Annotated[int, Field(ge=8, le=2048)] | None = None
    crop_px: Annotated[int, Field(ge=8, le=2048)] | None = None
    normalize: Literal["none", "imagenet"] | None = None

    def applied_to(self, default: Preprocessing) -> Preprocessing:
        """The model's preprocessing with what this table names replaced; a resize alone drops the default crop."""
        mean, std = default.mean, default.std
        if self.normalize is not None:
            mean, std = (IMAGENET_MEAN, IMAGENET_STD) if self.normalize == "imagenet" else ((0.0,) * 3, (1.0,) * 3)
        resize_px, crop_px = default.resize_px, default.crop_px
        if self.resize_px is not None or self.crop_px is not None:
            resize_px, crop_px = self.resize_px or default.resize_px, self.crop_px
        return Preprocessing(resize_px=resize_px, crop_px=crop_px, mean=mean, std=std)


class AugmentConfig(_Table):
    """The [augment] table: changes of a training image, each with its own probability; the first three: the paper's."""

    flip_probability: Probability = 0.05
    jitter_probability: Probability = 0.05
    rotate_probability: Probability = 0.05
    vertical_flip_probability: Probability = 0.0
    zoom_probability: Probability = 0.0
    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.2  # brightness, saturation: times 1 +- this; hue: +- turns
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.2  # enlarged by a factor of 1 +- this


class TrainConfig(_Table):
    """The [train] table; the defaults are the paper's recipe."""

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 32
    micro_batch_size: Annotated[int, Field(ge=0)] = 0  # gradients add up over pieces of this size; 0: model's own
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"  # cosine: the rate falls to 0 at the end of the last epoch
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)  # not strict: TOML has lists
    precision: Literal["32-true", "64-true", "tf32", "bf16-mixed", "16-mixed"] = "32-true"
    deterministic: bool = False  # only algorithms that give equal bits twice on one machine
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Annotated[int, Field(ge=1, le=1024)] = 1  # processes that share every batch
    strategy: Literal["auto", "ddp"] = "auto"  # auto: one process alone, several as ddp; ddp: also one as a group
    save_every_s: Annotated[float, Field(gt=0)] = 300.0  # seconds between saves of the resume state inside an epoch
    limit_s: Annotated[float, Field(gt=0)] | None = None  # training stops after so many seconds, and the run says so

    @property
    def together(self) -> bool:
        """Whether processes work as a group, be it of one."""
        return self.devices > 1 or self.strategy == "ddp"


class Experiment(_Table):
    """One experiment file, whole."""

    seed: Seed = 0
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()

    def to_toml(self) -> str:
        """The experiment as TOML that `read_experiment` reads back to an equal value; None is left out."""
        return _toml(self.model_dump(exclude_none=True))

    def changed(self, **tables: dict[str, Any] | int | None) -> "Experiment":
        """A copy with single keys replaced, such as `changed(seed=1, train={"epochs": 2})`; None keeps the old value.

        Raises: ConfigError: a key is unknown or a value is not allowed.
        """
        content: dict[str, Any] = self.model_dump(exclude_none=True)
        for name, value in tables.items():
            old = content.get(name, {})
            if isinstance(value, dict) and isinstance(old, dict):
                content[name] = old | {key: item for key, item in value.items() if item is not None}
            elif value is not None:
                content[name] = value
        return experiment_from(content, "the changed experiment")

    def recipe(self) -> "Experiment":
        """What decides the result: the experiment without where it is computed and how often it is saved."""
        default = TrainConfig()
        return self.changed(
            train={
                "device": default.device,
                "devices": default.devices,
                "strategy": default.strategy,
                "save_every_s": default.save_every_s,
            }
        )

    def with_setting(self, setting: str) -> "Experiment":
        """A copy with one key changed as TOML would write it, for instance `train.learning_rate=1e-3`.

        Raises: ConfigError: no `=`, an unknown key or a value that is not allowed.
        """
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: give TABLE.KEY=VALUE, for instance train.epochs=5")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a word without quotes
        content = self.model_dump(exclude_none=True)
        table = content
        *tables, name = key.strip().split(".")
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {setting}: {part} is a value, not a table; see docs/reference.md")
        table[name] = value
        return experiment_from(content, f"--set {setting}")


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises: ConfigError: it is missing, not TOML, or has a key or value that is not allowed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; see configs/paper for experiment files") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as TOML ({error}); see configs/paper for experiment files") from error
    return experiment_from(content, str(path))


def experiment_from(content: dict[str, Any], name: str) -> Experiment:
    """An Experiment from plain tables; `name` says in an error where they came from.

    Raises: ConfigError: a key is unknown or a value is not allowed.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: " + "; ".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: Any) -> str:
    """What was found and what is allowed, from one of pydantic's error records."""
    key, found = ".".join(str(part) for part in problem["loc"]), problem["input"]
    if problem["type"] == "extra_forbidden":
        table: Any = Experiment
        for part in problem["loc"][:-1]:
            table = table.model_fields[part].annotation
        return f"unknown key {key}; allowed here: {', '.join(table.model_fields)}"
    if problem["type"] in ("model_type", "dict_type"):
        return f"{key} is {found!r}: it should be a table; write [{key}] on a line and its keys below"
    if problem["type"] == "missing":
        return f"{key} is missing in {found!r}"
    return f"{key} is {found!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _toml(content: dict[str, Any], prefix: str = "") -> str:
    lines = [f"{_key(key)} = {_toml_value(value)}" for key, value in content.items() if not isinstance(value, dict)]
    for key, value in content.items():
        if isinstance(value, dict) and value:
            name = f"{prefix}{_key(key)}"
            lines += ["", f"[{name}]", _toml(value, f"{name}.").rstrip("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    # JSON spells bool, int, float and strings as TOML does, but escapes emoji as two surrogates and DEL not at all.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
