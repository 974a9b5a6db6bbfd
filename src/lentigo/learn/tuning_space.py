"""What a search may change: the keys of an experiment with their ranges, and experiments made of points in them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lentigo.config import Experiment, experiment_from
from lentigo.models.registry import classifier_entry, resolve_preprocessing

Configuration: TypeAlias = dict[str, int | float]  # by key, for instance train.learning_rate


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key of the experiment that is searched, with its closed range; whole numbers where both ends are."""

    key: str  # as in --set
    title: str  # for people
    low: int | float
    high: int | float
    log: bool = False  # whether the range is walked in factors, not in steps

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holding(self, value: int | float) -> "Dimension":
        """The same with its range widened so that it holds the value."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


_SIZES: dict[str, tuple[Dimension, ...]] = {
    "tiny_vgg": (
        Dimension(key="model.options.blocks", title="blocks", low=1, high=6),
        Dimension(key="model.options.width", title="width", low=4, high=64, log=True),
    ),
    "alexnet": (Dimension(key="model.options.width", title="width", low=0.125, high=1.0, log=True),),
    "vgg11": (Dimension(key="model.options.width", title="width", low=0.125, high=1.0, log=True),),
}
_RECIPE = (
    Dimension(key="train.learning_rate", title="learning rate", low=1e-5, high=1e-2, log=True),
    Dimension(key="augment.flip_probability", title="flip probability", low=0.0, high=0.5),
    Dimension(key="augment.jitter_probability", title="jitter probability", low=0.0, high=0.5),
    Dimension(key="augment.rotate_probability", title="rotate probability", low=0.0, high=0.5),
    Dimension(key="augment.jitter", title="jitter", low=0.0, high=0.4),
    Dimension(key="augment.rotate_degrees", title="rotate degrees", low=0.0, high=180.0),
)


def search_space(model: str, experiment: Experiment | None = None) -> tuple[Dimension, ...]:
    """What `lentigo tune` searches for a network: its size where it has one, the learning rate, the augmentation.

    Args:
        model: name of a registered classifier.
        experiment: the one that the search starts from: a range that does not hold its value is widened to it, Tiny VGG
            gets no more blocks than its input can be halved, and published weights keep their network's size.
    Raises: ConfigError: there is no such classifier, or its input is too small.
    """
    classifier_entry(model)
    space = (*_SIZES.get(model, ()), *_RECIPE)
    if experiment is None:
        return space
    if experiment.model.weights != "none":
        space = tuple(dimension for dimension in space if not dimension.key.startswith("model."))
    side_px = resolve_preprocessing(experiment.model, experiment.preprocessing).output_px or 1
    limits = {"model.options.blocks": side_px.bit_length() - 1}
    space = tuple(replace(d, high=min(d.high, limits.get(d.key, d.high))) for d in space)
    return tuple(dimension.holding(_like(dimension, value_of(experiment, dimension.key))) for dimension in space)


def value_of(experiment: Experiment, key: str) -> int | float:
    """The experiment's value of a key; of an option that it leaves out, the network's default."""
    if key.startswith("model.options."):
        name = key.rpartition(".")[2]
        options = classifier_entry(experiment.model.name).options
        return experiment.model.options.get(name, options[name].default)
    found: Any = experiment
    for part in key.split("."):
        found = getattr(found, part)
    value: int | float = found
    return value


def given_configuration(experiment: Experiment, space: tuple[Dimension, ...]) -> Configuration:
    """The experiment's own values of all that is searched."""
    return {dimension.key: _like(dimension, value_of(experiment, dimension.key)) for dimension in space}


def configured(experiment: Experiment, configuration: Mapping[str, int | float]) -> Experiment:
    """The experiment with these values; one that has them all already is returned as it is.

    Raises: ConfigError: a value is not allowed.
    """
    content: dict[str, Any] = experiment.model_dump(exclude_none=True)
    for key, value in configuration.items():
        if value_of(experiment, key) == value:
            continue
        *tables, name = key.split(".")
        table = content
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value
    return experiment_from(content, "the configuration")


def _like(dimension: Dimension, value: int | float) -> int | float:
    """The value in the dimension's own type: a width of 1 is the same as one of 1.0."""
    return int(value) if dimension.whole else float(value)
