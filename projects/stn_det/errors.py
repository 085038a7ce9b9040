"""Every exception that stn_det raises for its users, one idea a class."""


class StnDetError(Exception):
    """Root of all errors of this package; catch it to catch them all."""


class InputError(StnDetError, ValueError):
    """An argument or a file holds something that cannot be used."""


class AnnotationError(InputError):
    """An annotation file, or a line of it, cannot be read as oriented boxes."""


class ImageError(InputError):
    """An image file is missing, empty, truncated or not the image its annotation describes."""


class DatasetError(InputError):
    """A dataset as a whole cannot be used: empty, or images and labels do not match."""


class ClassMismatchError(InputError):
    """The classes of a checkpoint, a config or an annotation file disagree."""


class ConfigError(InputError):
    """A configuration file or an override of it names something that does not exist or does not fit."""


class NonFiniteLossError(StnDetError, FloatingPointError):
    """A loss term became NaN or infinite during training."""


class MissingOperatorError(StnDetError, NotImplementedError):
    """An mmcv operator was called that neither mmcv nor this package provides here."""


class MissingDependencyError(StnDetError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class WarpCollapseError(StnDetError, RuntimeError):
    """A spatial transformer shrinks images or pushes them out of the frame instead of learning a pose."""
