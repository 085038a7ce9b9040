"""Leaves strong augmentation out of the last epochs."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook

from stn_det.errors import ConfigError


@HOOKS.register_module()
class CleanEpochsHook(Hook):
    """Take some transforms out of the training pipeline for the last epochs, so that these see images as they are.

    Mosaics show cut and shrunken objects at a rate that no test image has; YOLOX, which introduced clean last epochs,
    "YOLOX: Exceeding YOLO Series in 2021" https://arxiv.org/abs/2107.08430, switches them off for 15 of 300. mmdet's
    ``YOLOXModeSwitchHook`` changes the head as well, and its ``PipelineSwitchHook`` cuts a pipeline of
    ``MultiImageMixDataset`` off at the length of the former one. This hook finds the transforms wherever they are:
    in wrapped, repeated and joined datasets. A resumed training is switched as one that was never stopped.

    Args:
        num_last_epochs: Epochs at the end without the transforms; as many as there are or more means all.
        skip_type_keys: Types of the transforms.

    Raises:
        ConfigError: If a number below 1 or no type is given, or if the training pipeline has none of the types.

    Example:
        >>> custom_hooks = [dict(type='CleanEpochsHook', num_last_epochs=12)]
    """

    def __init__(
        self, num_last_epochs: int = 12, skip_type_keys: Sequence[str] = ('OrientedMosaic', 'OrientedMixUp')
    ) -> None:
        if num_last_epochs < 1:
            raise ConfigError(
                f'CleanEpochsHook: num_last_epochs is {num_last_epochs}; expected at least 1, or no such hook'
            )
        if not skip_type_keys or isinstance(skip_type_keys, str):
            raise ConfigError(
                f"CleanEpochsHook: skip_type_keys is {skip_type_keys!r}; expected types such as ['OrientedMosaic']"
            )
        self.num_last_epochs = num_last_epochs
        self.skip_type_keys = tuple(skip_type_keys)
        self._switched = False

    def before_train(self, runner: Any) -> None:
        """See that there is something to leave out."""
        self._switched = False
        present = {name for part in _parts(runner.train_dataloader.dataset) for name in _types(part)}
        if not present & set(self.skip_type_keys):
            raise ConfigError(
                f'CleanEpochsHook: skip_type_keys is {list(self.skip_type_keys)}, of which the training pipeline has '
                f'none; it has {sorted(present)}. Remove the hook or name transforms of the pipeline'
            )

    def before_train_epoch(self, runner: Any) -> None:
        """Switch, once, when the last epochs begin."""
        if self._switched or runner.epoch < runner.max_epochs - self.num_last_epochs:
            return
        loader = runner.train_dataloader
        for part in _parts(loader.dataset):
            _leave_out(part, self.skip_type_keys)
        # workers that stay alive between epochs hold a copy of the former pipeline
        if getattr(loader, 'persistent_workers', False):
            loader._iterator = None
        self._switched = True
        runner.logger.info(f'clean epochs from now on: without {", ".join(self.skip_type_keys)}')


def _parts(dataset: Any) -> Iterator[Any]:
    """A dataset and those that it wraps."""
    yield dataset
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', [])
    for part in inner:
        yield from _parts(part)


def _mixes(dataset: Any) -> bool:
    """Whether a dataset is mmdet's ``MultiImageMixDataset``, which can leave out transforms by itself."""
    return hasattr(dataset, 'update_skip_type_keys')


def _types(dataset: Any) -> list[str]:
    """Names of the transforms of a dataset's own pipeline."""
    if _mixes(dataset):
        return [str(kind) for kind in dataset.pipeline_types]
    return [type(step).__name__ for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', [])]


def _leave_out(dataset: Any, types: Sequence[str]) -> None:
    """Take the transforms of these types out of a dataset's own pipeline."""
    if _mixes(dataset):
        dataset.update_skip_type_keys([*(dataset._skip_type_keys or ()), *types])
    elif _types(dataset):
        steps = dataset.pipeline.transforms
        dataset.pipeline.transforms = [step for step in steps if type(step).__name__ not in types]
