"""Experiment files: read, written, changed, and every refusal."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lentigo.config import (
    PROTOCOLS,
    SOURCE_PROTOCOLS,
    AugmentConfig,
    DataConfig,
    Experiment,
    ModelConfig,
    PreprocessingConfig,
    SplitConfig,
    TrainConfig,
    experiment_from,
    is_protocol,
    read_experiment,
)
from lentigo.errors import ConfigError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
BY_HAND = """
seed = 3
[data]
image_px = 64
[split]
protocol = "paper-grouped"
seed = 4
validation_fraction = 0
test_fraction = 0.25
[model]
name = "vgg11"
weights = "imagenet"
[model.options]
blocks = 3
dropout = 0.5
[preprocessing]
resize_px = 48
crop_px = 40
normalize = "imagenet"
[augment]
flip_probability = 1
jitter_probability = 0
rotate_probability = 0.5
jitter = 0.1
rotate_degrees = 45
vertical_flip_probability = 0.25
zoom_probability = 1
zoom = 0.5
[train]
epochs = 2
batch_size = 4
micro_batch_size = 2
learning_rate = 1e-3
schedule = "cosine"
betas = [0, 0.99]
precision = "bf16-mixed"
device = "cpu"
save_every_s = 60
limit_s = 5.5
"""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples of a property."""
    return tmp_path_factory.mktemp("config") / "experiment.toml"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- reading


def test_read_experiment_by_hand(scratch: Path) -> None:
    assert read_experiment(written(scratch, BY_HAND)) == Experiment(
        seed=3,
        data=DataConfig(image_px=64),
        split=SplitConfig(protocol="paper-grouped", seed=4, validation_fraction=0.0, test_fraction=0.25),
        model=ModelConfig(name="vgg11", weights="imagenet", options={"blocks": 3, "dropout": 0.5}),
        preprocessing=PreprocessingConfig(resize_px=48, crop_px=40, normalize="imagenet"),
        augment=AugmentConfig(
            flip_probability=1.0, jitter_probability=0.0, rotate_probability=0.5, jitter=0.1, rotate_degrees=45.0,
            vertical_flip_probability=0.25, zoom_probability=1.0, zoom=0.5,
        ),
        train=TrainConfig(
            epochs=2, batch_size=4, micro_batch_size=2, learning_rate=0.001, schedule="cosine", betas=(0.0, 0.99),
            precision="bf16-mixed", device="cpu", save_every_s=60.0, limit_s=5.5,
        ),
    )  # fmt: skip


def test_an_empty_file_is_the_default_experiment(scratch: Path) -> None:
    assert read_experiment(written(scratch, "")) == Experiment()
    assert read_experiment(written(scratch, "\ufeffseed = 0\n")) == Experiment()  # Windows' Notepad writes the mark


def test_defaults_are_the_papers_recipe() -> None:
    train, augment = TrainConfig(), AugmentConfig()
    assert (train.epochs, train.batch_size, train.learning_rate, train.betas) == (10, 32, 1e-4, (0.9, 0.999))
    assert (augment.flip_probability, augment.jitter_probability, augment.rotate_probability) == (0.05, 0.05, 0.05)
    assert (augment.jitter, augment.rotate_degrees) == (0.2, 10.0)
    assert (augment.vertical_flip_probability, augment.zoom_probability, train.schedule) == (0, 0, "constant")
    assert (train.precision, Experiment().model.weights, Experiment().data.image_px) == ("32-true", "none", 300)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("paper/*.toml")), ids=lambda path: path.stem)
def test_paper_configs_are_the_papers_recipe(path: Path) -> None:
    read = read_experiment(path)
    assert read.model == ModelConfig(name=path.stem)  # from scratch
    assert (read.seed, read.split.protocol, read.split.seed, read.data) == (0, "paper", 0, DataConfig())
    assert read.augment == AugmentConfig()
    # Pieces of a batch, on which gradients add up, change what a training costs, not what it computes.
    assert read.changed(train={"micro_batch_size": 0}).train == TrainConfig()
    tiny = path.stem == "tiny_vgg"
    assert read.preprocessing.applied_to(Preprocessing(resize_px=None, crop_px=None)) == (
        Preprocessing(resize_px=300, crop_px=None)
        if tiny
        else Preprocessing(resize_px=256, crop_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    )


def test_the_papers_four_networks_have_a_config() -> None:
    stems = {path.stem for path in CONFIGS.glob("paper/*.toml")}
    assert stems >= {"tiny_vgg", "alexnet", "vgg11", "resnet101"}


# ---------------------------------------------------------------- there and back


def finite(low: float, high: float, **more: Any) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, **more)


SEEDS, PROBABILITIES = st.integers(0, 2**63 - 1), finite(0, 1)
FRACTIONS = finite(0, 1, exclude_max=True)
PIXELS = st.none() | st.integers(8, 2048)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
EXPERIMENTS = st.builds(
    Experiment,
    seed=SEEDS,
    data=st.builds(DataConfig, image_px=st.integers(16, 2048)),
    split=st.builds(
        SplitConfig,
        protocol=st.sampled_from(PROTOCOLS)
        | st.builds("{}={}".format, st.sampled_from(SOURCE_PROTOCOLS), NAMES.filter(str.strip)),
        seed=SEEDS,
        validation_fraction=FRACTIONS,
        test_fraction=FRACTIONS,
    ),
    model=st.builds(
        ModelConfig,
        name=NAMES,
        weights=st.sampled_from(["none", "imagenet"]),
        options=st.dictionaries(NAMES, st.integers() | finite(-1e300, 1e300), max_size=3),
    ),
    preprocessing=st.builds(
        PreprocessingConfig,
        resize_px=PIXELS,
        crop_px=PIXELS,
        normalize=st.sampled_from([None, "none", "imagenet"]),
    ),
    augment=st.builds(
        AugmentConfig,
        flip_probability=PROBABILITIES,
        jitter_probability=PROBABILITIES,
        rotate_probability=PROBABILITIES,
        jitter=finite(0, 0.5, exclude_max=True),
        rotate_degrees=finite(0, 180),
        vertical_flip_probability=PROBABILITIES,
        zoom_probability=PROBABILITIES,
        zoom=finite(0, 1, exclude_max=True),
    ),
    train=st.builds(
        TrainConfig,
        epochs=st.integers(1),
        batch_size=st.integers(1),
        micro_batch_size=st.integers(0),
        learning_rate=finite(0, 1e300, exclude_min=True),
        schedule=st.sampled_from(["constant", "cosine"]),
        betas=st.tuples(FRACTIONS, FRACTIONS),
        precision=st.sampled_from(["32-true", "bf16-mixed", "16-mixed"]),
        device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
        save_every_s=finite(0, 1e9, exclude_min=True),
        limit_s=st.none() | finite(0, 1e9, exclude_min=True),
    ),
)


@relaxed
@given(experiment=EXPERIMENTS)
def test_toml_comes_back(scratch: Path, experiment: Experiment) -> None:
    again = read_experiment(written(scratch, experiment.to_toml()))
    assert again == experiment
    assert again.to_toml() == experiment.to_toml()
    types = [{name: type(value) for name, value in one.model.options.items()} for one in (again, experiment)]
    assert types[0] == types[1]  # 1 stays whole, 1.0 does not: they are equal


def test_a_whole_number_may_be_large(scratch: Path) -> None:
    assert read_experiment(written(scratch, f"[model.options]\na = {10**400}\n")).model.options == {"a": 10**400}


def test_to_toml_by_hand() -> None:
    text = Experiment().changed(model={"options": {"blocks": 3, "a b": 0.5}}).to_toml()
    assert text.startswith('seed = 0\n\n[data]\nimage_px = 300\n\n[split]\nprotocol = "stratified"\nseed = 0\n')
    assert '\n\n[model]\nname = "tiny_vgg"\nweights = "none"\n\n[model.options]\nblocks = 3\n"a b" = 0.5\n' in text
    assert "limit_s" not in text  # None
    assert "betas = [0.9, 0.999]\n" in text
    assert set(tomllib.loads(text)) == {"seed", "data", "split", "model", "augment", "train"}


# ---------------------------------------------------------------- changed


def test_changed_replaces_single_keys() -> None:
    changed = Experiment().changed(seed=1, model={"name": "vgg11"}, train={"epochs": 2, "device": None})
    assert changed == Experiment(seed=1, model=ModelConfig(name="vgg11"), train=TrainConfig(epochs=2))
    assert Experiment() == Experiment(seed=0)  # nothing shared was touched


@relaxed
@given(experiment=EXPERIMENTS)
def test_changed_with_nothing_is_equal(experiment: Experiment) -> None:
    assert experiment.changed() == experiment
    assert experiment.changed(seed=None, split={"protocol": None, "seed": None}) == experiment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"trian": {"epochs": 2}},
            "unknown key trian; allowed here: seed, data, split, model, preprocessing, augment, ",
        ),
        ({"train": {"epoch": 2}}, "unknown key train.epoch; allowed here: epochs, batch_size, micro_batch_size, "),
        ({"seed": {"epochs": 2}}, "seed is {'epochs': 2}: input should be a valid integer"),
        ({"data": 3}, "data is 3: it should be a table; write [data] on a line and its keys below"),
    ],
)
def test_changed_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(f"the changed experiment: {message}")):
        Experiment().changed(**change)


# ---------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    ("asked", "resize_px", "crop_px", "normalised"),
    [
        ({}, 256, 224, True),
        ({"resize_px": 128}, 128, None, True),  # the default's crop of 224 would not fit
        ({"crop_px": 200}, 256, 200, True),
        ({"resize_px": 64, "crop_px": 32, "normalize": "none"}, 64, 32, False),
        ({"normalize": "imagenet"}, 256, 224, True),
    ],
)
def test_preprocessing_applied_to_a_default(
    asked: dict[str, Any], resize_px: int, crop_px: int | None, normalised: bool
) -> None:
    default = Preprocessing(resize_px=256, crop_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalised else ((0.0,) * 3, (1.0,) * 3)
    expected = Preprocessing(resize_px=resize_px, crop_px=crop_px, mean=mean, std=std)
    assert PreprocessingConfig(**asked).applied_to(default) == expected


def test_preprocessing_refuses_a_crop_larger_than_the_resize() -> None:
    asked = PreprocessingConfig(resize_px=100, crop_px=200)
    with pytest.raises(ConfigError, match=r"crop_px is 200, .*resize_px = 100; lower "):
        asked.applied_to(Preprocessing(resize_px=None, crop_px=None))


# ---------------------------------------------------------------- protocols


@pytest.mark.parametrize(
    ("protocol", "kind", "source"),
    [
        ("paper-grouped", "paper-grouped", ""),
        ("hold-out-source=isic2020", "hold-out-source", "isic2020"),
        ("within-source=a clinic, of = two ", "within-source", "a clinic, of = two "),
    ],
)
def test_a_protocol_may_name_a_source(scratch: Path, protocol: str, kind: str, source: str) -> None:
    read = read_experiment(written(scratch, f'[split]\nprotocol = "{protocol}"\n'))
    assert (read.split.protocol, read.split.kind, read.split.source) == (protocol, kind, source)
    assert Experiment().with_setting(f"split.protocol='{protocol}'") == read


def test_a_protocol_with_a_source_needs_no_quotes_in_a_setting() -> None:
    assert Experiment().with_setting("split.protocol=within-source=x").split == SplitConfig(protocol="within-source=x")


@pytest.mark.parametrize(
    "protocol",
    ["", "=", "Paper", "paper ", "paper=", "grouped=a", "hold-out-source", "hold-out-source=", "within-source= ", "=a"],
)
def test_what_is_no_protocol(scratch: Path, protocol: str) -> None:
    assert not is_protocol(protocol)
    with pytest.raises(ConfigError, match="^" + re.escape(f"{scratch}: split.protocol is {protocol!r}: input should ")):
        read_experiment(written(scratch, f'[split]\nprotocol = "{protocol}"\n'))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "unknown key epochs; allowed here: seed, data, split, model, preprocessing, augment, train"),
        ("[split]\nprotocoll = 1", "unknown key split.protocoll; allowed here: protocol, seed, validation_fraction, "),
        ("seed = -1", "seed is -1: input should be greater than or equal to 0"),
        (f"seed = {2**63}", f"seed is {2**63}: input should be less than or equal to {2**63 - 1}"),
        ("seed = true", "seed is True: input should be a valid integer"),
        ("data = 3", "data is 3: it should be a table; write [data] on a line and its keys below"),
        ("[data]\nimage_px = 15", "data.image_px is 15: input should be greater than or equal to 16"),
        ("[data]\nimage_px = 2049", "data.image_px is 2049: input should be less than or equal to 2048"),
        (
            "[split]\nprotocol = 'random'",
            "split.protocol is 'random': input should be paper, paper-grouped, stratified, grouped, folders, "
            "hold-out-source=NAME or within-source=NAME",
        ),
        ("[split]\nprotocol = 3", "split.protocol is 3: input should be paper, paper-grouped, stratified, grouped, "),
        ("[split]\ntest_fraction = 1.0", "split.test_fraction is 1.0: input should be less than 1"),
        ("[split]\nvalidation_fraction = -0.1", "split.validation_fraction is -0.1: input should be greater than or "),
        ("[model]\nname = 3", "model.name is 3: input should be a valid string"),
        ("[model]\nweights = 'mine'", "model.weights is 'mine': input should be 'none' or 'imagenet'"),
        ("[model]\noptions = 3", "model.options is 3: it should be a table; write [model.options] on a line and its "),
        ("[model.options]\nblocks = '3'", "model.options.blocks is '3': input should be a finite number"),
        ("[model.options]\nblocks = true", "model.options.blocks is True: input should be a finite number"),
        ("[model.options]\nblocks = inf", "model.options.blocks is inf: input should be a finite number"),
        ("[preprocessing]\nresize_px = 7", "preprocessing.resize_px is 7: input should be greater than or equal to 8"),
        ("[preprocessing]\nnormalize = ''", "preprocessing.normalize is '': input should be 'none' or 'imagenet'"),
        (
            "[augment]\nflip_probability = 1.1",
            "augment.flip_probability is 1.1: input should be less than or equal to 1",
        ),
        ("[augment]\njitter = 0.5", "augment.jitter is 0.5: input should be less than 0.5"),
        ("[augment]\nzoom = 1", "augment.zoom is 1: input should be less than 1"),
        ("[train]\nschedule = 'linear'", "train.schedule is 'linear': input should be 'constant' or 'cosine'"),
        ("[augment]\nrotate_degrees = nan", "augment.rotate_degrees is nan: input should be a finite number"),
        ("[train]\nepochs = 0", "train.epochs is 0: input should be greater than or equal to 1"),
        ("[train]\nepochs = 1.0", "train.epochs is 1.0: input should be a valid integer"),
        ("[train]\nlearning_rate = '1e-4'", "train.learning_rate is '1e-4': input should be a valid number"),
        ("[train]\nlearning_rate = inf", "train.learning_rate is inf: input should be a finite number"),
        ("[train]\nbetas = [0.9, 1]", "train.betas.1 is 1: input should be less than 1"),
        ("[train]\nbetas = ['0.9', 0]", "train.betas.0 is '0.9': input should be a valid number"),
        ("[train]\nbetas = [0.9]", "train.betas.1 is missing in [0.9]"),
        ("[train]\nbetas = 0.9", "train.betas is 0.9: input should be a valid tuple"),
        ("[train]\ndevice = 'gpu'", "train.device is 'gpu': input should be 'auto', 'cpu', 'cuda' or 'mps'"),
        ("[train]\nlimit_s = 0", "train.limit_s is 0: input should be greater than 0"),
        (
            "seed = -1\n[train]\nepochs = 0",
            "seed is -1: input should be greater than or equal to 0; train.epochs is 0: ",
        ),
    ],
)
def test_read_experiment_refuses(scratch: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(f"{scratch}: {message}")):
        read_experiment(written(scratch, text))


def test_read_experiment_refuses_what_is_no_toml_file(tmp_path: Path) -> None:
    advice = "see configs/paper for experiment files"
    with pytest.raises(ConfigError, match=rf"a\.toml does not exist; {advice}$"):
        read_experiment(tmp_path / "a.toml")
    for content in (b"seed == 1", b"\xff\xfe"):
        (tmp_path / "a.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=rf"a\.toml cannot be read as TOML \(.+\); {advice}$"):
            read_experiment(tmp_path / "a.toml")


def test_experiment_from_names_the_source() -> None:
    with pytest.raises(ConfigError, match=r"^model\.onnx: seed is 'x': input should be a valid integer$"):
        experiment_from({"seed": "x"}, "model.onnx")
