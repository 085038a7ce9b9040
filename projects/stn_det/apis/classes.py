"""Classes of a config and of a checkpoint, and the check that they are the same."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from ..errors import ClassMismatchError, ConfigError, InputError
from .suggest import require_file


def load_checkpoint_file(checkpoint: str | Path) -> dict[str, Any]:
    """Content of a checkpoint on the CPU.

    Args:
        checkpoint: a local file or an address that mmengine can load (``https://``, ``torchvision://``).

    Raises:
        InputError: when the file does not exist or holds no checkpoint.
    """
    if '://' not in str(checkpoint):
        require_file(checkpoint, 'checkpoint')
    try:
        return _load_safely(Path(checkpoint))
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError):
        pass  # not local, or holds more than tensors and mmengine's records: mmengine knows how
    try:
        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu', logger='silent')
    except Exception as error:  # torch and pickle raise a dozen kinds for a file that is no checkpoint
        reason = str(error).strip().splitlines() or ['']
        raise InputError(f'checkpoint {checkpoint} cannot be read: {type(error).__name__}: {reason[0]}') from error
    if not isinstance(content, Mapping):
        raise InputError(f'checkpoint {checkpoint} holds a {type(content).__name__}; expected a dictionary of weights.')
    return dict(content)


def _load_safely(path: Path) -> dict[str, Any]:
    """Content of a local checkpoint that runs no code of the file."""
    content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} holds no dictionary')
    return dict(content)


def checkpoint_classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Class names stored in a checkpoint's content, or None when it stores none (pretrained backbones do not)."""
    meta = content.get('meta') or {}
    stored = meta.get('dataset_meta') or meta
    names = stored.get('classes', stored.get('CLASSES')) if isinstance(stored, Mapping) else None
    return (names,) if isinstance(names, str) else tuple(names) if names else None


def innermost_dataset(dataset: Any) -> Any:
    """The dataset config inside wrappers such as RepeatDataset."""
    while isinstance(dataset, Mapping) and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def config_classes(cfg: Config, split: str = 'test') -> tuple[str, ...]:
    """Class names of a config's dataset: its ``metainfo``, or what its dataset class declares.

    Args:
        cfg: a loaded config, whose ``custom_imports`` have run.
        split: 'train', 'val' or 'test': whose dataloader to read.

    Raises:
        ConfigError: when the config has no such dataloader, or its dataset names no classes.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'config {cfg.filename} has no {split}_dataloader, so its classes are unknown.')
    dataset = innermost_dataset(loader['dataset'])
    names = (dataset.get('metainfo') or {}).get('classes')
    if not names:
        kind = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
        names = (getattr(kind, 'METAINFO', None) or {}).get('classes')
    if not names:
        raise ConfigError(f'dataset {dataset["type"]} of {split}_dataloader names no classes; set metainfo.classes.')
    return (names,) if isinstance(names, str) else tuple(names)


def check_classes(cfg: Config, content: Mapping[str, Any], checkpoint: str | Path, split: str = 'test') -> None:
    """Hold a checkpoint's classes against a config's: same names, same order, and as many as the head has.

    Args:
        cfg: loaded config.
        content: content of the checkpoint.
        checkpoint: its path, for the message.
        split: whose dataloader of the config counts.

    Raises:
        ClassMismatchError: when they differ; the message names the difference.
    """
    wanted = config_classes(cfg, split)
    heads = [head for head in _heads(cfg.get('model', {})) if 'num_classes' in head]
    for head in heads:
        if head['num_classes'] != len(wanted):
            raise ClassMismatchError(
                f'{head["type"]} of the config has num_classes={head["num_classes"]}, but its {split} dataset has '
                f'{len(wanted)} classes: {", ".join(wanted)}. Make the two agree.'
            )
    stored = checkpoint_classes(content)
    if stored is None or stored == wanted:
        return
    raise ClassMismatchError(
        f'checkpoint {checkpoint} was trained on other classes than the {split} dataset of the config has: '
        f'{_difference(stored, wanted)} Use the config that it was trained with, or give metainfo.classes its classes.'
    )


def _heads(model: Any) -> list[Mapping[str, Any]]:
    """Configs of the parts of a detector that end in classes."""
    if not isinstance(model, Mapping):
        return []
    roi_head = model.get('roi_head') or {}
    if 'detector' in model:  # a detector that wraps another one
        return _heads(model['detector'])
    candidates = [model.get('bbox_head'), roi_head.get('bbox_head') if isinstance(roi_head, Mapping) else None]
    flat = [head for entry in candidates for head in (entry if isinstance(entry, (list, tuple)) else [entry])]
    return [head for head in flat if isinstance(head, Mapping)]


def _difference(stored: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    only_stored = [name for name in stored if name not in wanted]
    only_wanted = [name for name in wanted if name not in stored]
    parts = []
    if only_stored:
        parts.append(f'only the checkpoint has {", ".join(only_stored)}')
    if only_wanted:
        parts.append(f'only the config has {", ".join(only_wanted)}')
    if not parts:
        if len(stored) != len(wanted):
            parts.append(f'the checkpoint has {len(stored)}, the config {len(wanted)}')
        else:
            place = next(i for i, (a, b) in enumerate(zip(stored, wanted)) if a != b)
            parts.append(f'same names in another order, first at {place}: {stored[place]} against {wanted[place]}')
    return '; '.join(parts) + '.'
