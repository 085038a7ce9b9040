"""A detector loaded for use: images in, oriented boxes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..engine import fold_norms
from ..errors import ConfigError, ImageError, InputError
from ..geometry import rbox_to_qbox
from .classes import check_classes, config_classes, innermost_dataset, load_checkpoint_file
from .configs import load_config
from .devices import resolve_device

CONVENTION = 'pixels, first centre at 0.5; rbox = cx, cy, w, h, angle in radians, clockwise on screen, le90'

# Steps of a test pipeline that need truth, which an image to predict on does not have.
TRUTH_STEPS = ('LoadAnnotations', 'ConvertBoxType', 'FilterOrientedBoxes', 'FilterAnnotations')


@dataclass(frozen=True)
class ImagePrediction:
    """Detections in one image, best first, in pixels of that image."""

    path: Path
    """The image file."""
    height: int
    """Image height in pixels."""
    width: int
    """Image width in pixels."""
    boxes: np.ndarray
    """``(K, 5)`` float: cx, cy, w, h in pixels, angle in radians, clockwise on screen, le90."""
    scores: np.ndarray
    """``(K,)`` float in [0, 1], falling."""
    labels: np.ndarray
    """``(K,)`` int, indices into ``classes``."""
    classes: tuple[str, ...]
    """Class names."""

    def __len__(self) -> int:
        return len(self.scores)

    def image(self) -> np.ndarray:
        """The image as ``(H, W, 3)`` RGB uint8, for drawing.

        Raises:
            ImageError: when the file cannot be read any more.
        """
        pixels = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ImageError(f'image {self.path} cannot be read; it was there for the prediction.')
        return np.ascontiguousarray(pixels[..., ::-1])

    def corners(self) -> np.ndarray:
        """Corners of the boxes ``(K, 8)``: x1, y1, ..., x4, y4 in pixels, clockwise on screen."""
        return rbox_to_qbox(torch.from_numpy(self.boxes).double()).numpy()

    def keep(self, score_thr: float = 0.0, labels: Sequence[int] | None = None) -> 'ImagePrediction':
        """Only the detections with a score of at least ``score_thr`` and, if given, one of these labels."""
        kept = self.scores >= score_thr
        if labels is not None:
            kept &= np.isin(self.labels, list(labels))
        return ImagePrediction(
            self.path, self.height, self.width, self.boxes[kept], self.scores[kept], self.labels[kept], self.classes
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; pixels rounded to 1/1000, angles and scores to 1e-6."""
        detections = [
            {
                'class': self.classes[int(label)],
                'label': int(label),
                'score': round(float(score), 6),
                'rbox': [*(round(float(v), 3) for v in box[:4]), round(float(box[4]), 6)],
                'qbox': [round(float(v), 3) for v in corners],
            }
            for box, corners, score, label in zip(self.boxes, self.corners(), self.scores, self.labels)
        ]
        return {
            'image': self.path.name,
            'width': self.width,
            'height': self.height,
            'convention': CONVENTION,
            'classes': list(self.classes),
            'detections': detections,
        }

    def to_dota(self) -> str:
        """One line a detection: ``x1 y1 x2 y2 x3 y3 x4 y4 class score``."""
        lines = (
            f'{" ".join(f"{v:.2f}" for v in corners)} {self.classes[int(label)]} {float(score):.6f}\n'
            for corners, score, label in zip(self.corners(), self.scores, self.labels)
        )
        return ''.join(lines)


class Predictor:
    """A trained detector, ready for images.

    Args:
        config: a path, ``package::path``, the bare name of a shipped config, or a loaded config.
        checkpoint: its weights; their classes must be those of the config.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        cfg_options: overrides, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.

    Raises:
        ConfigError: when the config or an override cannot be used.
        ClassMismatchError: when checkpoint and config differ in classes.
        InputError: when the checkpoint or the device cannot be used.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
        allow_new: bool = False,
    ) -> None:
        self.device = resolve_device(device)
        self.cfg = load_config(config, cfg_options, allow_new)
        content = load_checkpoint_file(checkpoint)
        check_classes(self.cfg, content, checkpoint)
        self.classes = config_classes(self.cfg)
        init_default_scope(self.cfg.get('default_scope', 'mmdet'))
        self.pipeline = Compose(_without_truth(self.cfg))
        self.model = _build_model(self.cfg, content, checkpoint).to(self.device).eval()
        self._run: Any = self.model.test_step

    @torch.inference_mode()
    def __call__(self, image: str | Path) -> ImagePrediction:
        """Detect oriented objects in one image file.

        Raises:
            ImageError: when the file is missing, empty or no image.
        """
        path = Path(image)
        packed = self.pipeline({'img_path': str(path), 'img_id': 0})
        sample = packed['data_samples']
        found = self._run({'inputs': [packed['inputs']], 'data_samples': [sample]})[0].pred_instances
        boxes = getattr(found.bboxes, 'tensor', found.bboxes)
        order = torch.argsort(found.scores, descending=True, stable=True)
        height, width = sample.ori_shape[:2]
        return ImagePrediction(
            path=path,
            height=int(height),
            width=int(width),
            boxes=boxes[order].float().cpu().numpy(),
            scores=found.scores[order].float().cpu().numpy(),
            labels=found.labels[order].cpu().numpy(),
            classes=self.classes,
        )


def _without_truth(cfg: Config) -> list[Any]:
    """Steps of the test pipeline that an unlabelled image can pass."""
    dataset = innermost_dataset(cfg.test_dataloader['dataset'])
    steps = [step for step in dataset['pipeline'] if str(step['type']).rpartition('.')[2] not in TRUTH_STEPS]
    if not steps:
        raise ConfigError(f'the test pipeline of {cfg.filename} is empty; expected steps that load and pack an image.')
    return steps


def _build_model(cfg: Config, content: Mapping[str, Any], checkpoint: str | Path) -> torch.nn.Module:
    """Model of a config with the weights of a checkpoint; pretrained weights it names are not fetched."""
    from mmdet.registry import MODELS

    model: torch.nn.Module = MODELS.build(cfg.model)
    state = {name.removeprefix('module.'): value for name, value in content.get('state_dict', content).items()}
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith('num_batches_tracked')]
    wrong = [
        f'{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}'
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or wrong:
        examples = ', '.join([*missing[:2], *wrong[:2]])
        raise InputError(
            f'checkpoint {checkpoint} does not fit the model of {cfg.filename}: {len(missing)} of {len(wanted)} '
            f'tensors are missing and {len(wrong)} have another shape ({examples}). Use the config of its training.'
        )
    model.load_state_dict(state, strict=False)
    fold_norms(model)
    return model
