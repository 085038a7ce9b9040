"""A model made ready for a benchmark under distortions: its config with one step more, its data, its digests."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..errors import ConfigError, InputError
from .classes import check_classes, config_classes, innermost_dataset, load_checkpoint_file
from .configs import load_config
from .distortion_plan import Settings
from .predictor import TRUTH_STEPS


@dataclass(frozen=True)
class BenchmarkModel:
    """A config and its weights, with all that a benchmark asks of them."""

    name: str
    config: str
    checkpoint: str
    cfg: Config = field(repr=False)
    loaded: int
    """Number of steps of the test pipeline after which the images are loaded."""
    image_keys: tuple[str, ...]
    """Entries of a sample that hold images."""
    fill: dict[str, list[float]]
    """Colour of padding in training, by image key, in the order of the channels of the loaded image."""
    indices: list[int] | None
    """Images of the dataset that are measured; None for all."""
    truth: tuple[Any, ...] = field(repr=False)
    """Images, labels and truth steps: what has to be the same for models that are compared."""
    digests: dict[str, str]
    """SHA-256 of config, checkpoint and data."""

    @property
    def num_images(self) -> int:
        """Number of images that are measured."""
        return len(self.truth[0])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.truth[2])


def prepare_model(
    config: str | Path | Config,
    checkpoint: str | Path,
    name: str,
    settings: Settings,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
) -> BenchmarkModel:
    """Load a config, hold it against its checkpoint and look at its data.

    Args:
        config: see :func:`~stn_det.apis.load_config`.
        checkpoint: the weights.
        name: of the model in tables and curves.
        settings: of the benchmark.
        cfg_options: overrides of the config.
        allow_new: let an override add a key.

    Raises:
        ConfigError: when the config cannot be used: no image is loaded, or there is no DOTAMetric.
        ClassMismatchError: when checkpoint and dataset differ in classes.
        InputError: when the checkpoint cannot be used.
    """
    cfg = load_config(config, cfg_options, allow_new)
    content = load_checkpoint_file(checkpoint)
    check_classes(cfg, content, checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    steps = _pipeline(cfg)
    loaded, image_keys = _loading(cfg, steps)
    _metric(cfg)
    indices, infos = _choose_images(cfg, settings)
    truth_steps = [dict(step) for step in steps if str(step['type']).rpartition('.')[2] in TRUTH_STEPS]
    images = [Path(info['img_path']).name for info in infos]
    labels = [[item['bbox_label'] for item in info.get('instances', []) if not item['ignore_flag']] for info in infos]
    truth = (images, labels, config_classes(cfg), truth_steps)
    return BenchmarkModel(
        name=name,
        config=str(cfg.filename if isinstance(config, Config) else config),
        checkpoint=str(checkpoint),
        cfg=cfg,
        loaded=loaded,
        image_keys=image_keys,
        fill={image_keys[0]: _padding_colour(cfg)},
        indices=indices,
        truth=truth,
        digests={
            'config': _digest(cfg.to_dict()),
            'checkpoint': _file_digest(checkpoint),
            'data': _digest([(image, info.get('instances', [])) for image, info in zip(images, infos)]),
        },
    )


def check_same_truth(models: Sequence[BenchmarkModel]) -> None:
    """See that all models are measured on the same images, objects and kind of boxes.

    Raises:
        InputError: when two differ.
    """
    first = models[0]
    for other in models[1:]:
        parts = ('images', 'labels', 'classes', 'steps of the test pipeline that make the truth')
        wrong = [part for part, a, b in zip(parts, first.truth, other.truth) if a != b]
        if wrong:
            raise InputError(
                f'{first.name} and {other.name} cannot be compared: their test data differ in {", ".join(wrong)}. '
                'Give both the same test_dataloader.dataset, or measure them in two calls.'
            )


def level_config(
    model: BenchmarkModel, family: str, level: float, levels: Sequence[float], settings: Settings, work_dir: Path
) -> Config:
    """The config that tests a model on distorted images: what ``stn-det test`` runs, but for one step and the log.

    Args:
        model: from :func:`prepare_model`.
        family: name of the distortion.
        level: its strength.
        levels: all levels of the family that are measured.
        settings: of the benchmark.
        work_dir: for the log.
    """
    cfg = deepcopy(model.cfg)
    step = dict(
        type='DistortImage',
        family=family,
        level=level,
        levels=tuple(levels),
        min_visible=settings.min_visible,
        seed=settings.seed,
        image_keys=model.image_keys,
        fill=model.fill,
    )
    dataset = innermost_dataset(cfg.test_dataloader['dataset'])
    dataset['pipeline'] = [*dataset['pipeline'][: model.loaded], step, *dataset['pipeline'][model.loaded :]]
    if model.indices is not None:
        dataset['indices'] = model.indices
    metric = deepcopy(_metric(cfg))
    metric.update(outfile_prefix=None, prefix='dota')
    same = {key: metric[key] for key in ('iou_thrs', 'ap_mode') if key in metric}
    cfg.test_evaluator = [metric, dict(type='TruthMetric', **same)]
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if 'ProgressBarHook' not in str(hook['type'])]
    cfg.update(work_dir=str(work_dir), load_from=model.checkpoint, resume=False, launcher='none', log_level='WARNING')
    return cfg


def _pipeline(cfg: Config) -> list[Any]:
    loader = cfg.get('test_dataloader')
    steps = innermost_dataset(loader['dataset']).get('pipeline') if loader else None
    if not steps:
        raise ConfigError(f'config {cfg.filename} has no test_dataloader with a pipeline, so nothing can be distorted.')
    return list(steps)


def _loading(cfg: Config, steps: Sequence[Any]) -> tuple[int, tuple[str, ...]]:
    """How many steps load images, from the first on, and the entries of the sample that then hold them."""
    last, keys = 0, dict[str, None]()
    for place, step in enumerate(steps, 1):
        kind = TRANSFORMS.get(step['type']) if isinstance(step['type'], str) else step['type']
        names = getattr(kind, 'image_keys', ('img',) if issubclass(kind or object, LoadImageFromFile) else ())
        if names:
            last = place
            keys.update(dict.fromkeys(names))
    if not keys:
        raise ConfigError(
            f'the test pipeline of {cfg.filename} loads no image; expected a step such as LoadCheckedImage.'
        )
    return last, tuple(keys)


def _metric(cfg: Config) -> Any:
    """Settings of the config's DOTAMetric."""
    evaluator = cfg.get('test_evaluator') or []
    entries = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    for entry in entries:
        if str(entry['type']).rpartition('.')[2] == 'DOTAMetric' and not entry.get('format_only'):
            return entry
    found = ', '.join(str(entry['type']) for entry in entries) or 'none'
    raise ConfigError(
        f"test_evaluator of {cfg.filename} is {found}; the benchmark needs dict(type='DOTAMetric') without format_only."
    )


def _choose_images(cfg: Config, settings: Settings) -> tuple[list[int] | None, list[dict]]:
    """Indices of the images to measure, None for all, and what the dataset knows of them."""
    settings_of_dataset = innermost_dataset(cfg.test_dataloader['dataset'])
    dataset = DATASETS.build(settings_of_dataset)
    dataset.full_init()
    count = settings.max_images
    if count is None or count >= len(dataset):
        return None, [dataset.get_data_info(place) for place in range(len(dataset))]
    places = sorted(random.Random(settings.seed).sample(range(len(dataset)), count))
    subset = settings_of_dataset.get('indices')
    indices = [subset[place] for place in places] if isinstance(subset, (list, tuple)) else places
    return indices, [dataset.get_data_info(place) for place in places]


def _padding_colour(cfg: Config) -> list[float]:
    """What the data preprocessor pads with, as a colour of the loaded image: its mean, where ``pad_value`` is 0."""
    settings = cfg.get('data_preprocessor') or _find_preprocessor(cfg.model) or {}
    mean, std = settings.get('mean'), settings.get('std')
    value = float(settings.get('pad_value', 0))
    if mean is None or std is None:
        return [value]
    colour = [float(m) + value * float(s) for m, s in zip(mean, std)]
    return colour[::-1] if settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr') else colour


def _find_preprocessor(model: Mapping[str, Any]) -> Any:
    """Settings of the preprocessor, of the model itself or of a detector that it wraps."""
    if model.get('data_preprocessor'):
        return model['data_preprocessor']
    inner = (_find_preprocessor(value) for value in model.values() if isinstance(value, Mapping))
    return next((found for found in inner if found), None)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _file_digest(checkpoint: str | Path) -> str:
    """Digest of a local file; of the address of another one, which is not loaded for it."""
    path = Path(checkpoint)
    if not path.is_file():
        return _digest(str(checkpoint))
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
