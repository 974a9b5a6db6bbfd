"""The errors a user can cause. Each carries one sentence: what was found, what is allowed, what to do."""


class LentigoError(Exception):
    """Base of every error that lentigo raises on purpose; the command line prints it without a traceback."""


class ImageError(LentigoError):
    """A file is not an image that lentigo reads: unreadable, truncated, another format, too large."""


class DataError(LentigoError):
    """A data set, image table, split or pack does not fit together."""


class ConfigError(LentigoError):
    """An experiment file or an option has an unknown key or a value that is not allowed."""


class RunError(LentigoError):
    """A run folder is incomplete, damaged or of another version, or a training cannot go on."""


class StoppedError(LentigoError):
    """A person stopped the work; what was finished is kept."""

    again = "the same command again"  # what to give to go on


class UndefinedMetricError(LentigoError):
    """A score has no value on these labels, for instance an AUC where one class is absent."""


class ModelError(LentigoError):
    """An exported model is missing, damaged or not one of lentigo's, or cannot be exported as it should be."""
