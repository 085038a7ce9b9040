"""Images, and what the spatial transformer of a model makes of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det.geometry.warp import MatrixWarp

from .warp_grid import draw_warp_grid

_GAP = 6  # pixels between the tiles


@torch.no_grad()
def draw_transformer(
    model: Any, samples: Sequence[dict[str, Any]], turns: Sequence[float] = (0.0,), lines: int = 7
) -> np.ndarray:
    """What the transformer of a model makes of images.

    Args:
        model: An ``STNDetector``; its mode is left as it was.
        samples: Items of a dataset: ``inputs`` (3, H, W) BGR and ``data_samples``.
        turns: Degrees, clockwise on screen.
        lines: Of the grid along each side.

    Returns:
        (H', W', 3) RGB uint8: in two rows a column for each image and turn, first what goes in, below what comes out.
    """
    training = model.training
    model.eval()
    columns = [_column(model, sample, turn, lines) for sample in samples for turn in turns]
    model.train(training)
    height = max(column.shape[0] for column in columns)
    padded = [
        np.pad(column, ((0, height - column.shape[0]), (0, _GAP), (0, 0)), constant_values=255) for column in columns
    ]
    return np.concatenate(padded, axis=1)[:, :-_GAP]


def _column(model: Any, sample: dict[str, Any], turn: float, lines: int) -> np.ndarray:
    """Input above output."""
    image = sample['inputs'][None].float()
    rotation = MatrixWarp.from_parameters(torch.tensor([[math.radians(turn)]]), 'rotation', tuple(image.shape[2:]))
    mean = image.mean((2, 3), keepdim=True)
    turned = rotation.transform_images(image - mean) + mean  # what no pixel covers is of the mean colour
    batch = dict(inputs=[turned[0].round().byte()], data_samples=[sample['data_samples']])
    inputs = model.data_preprocessor(batch, training=False)['inputs']
    warp = model.transformer.estimate(inputs, model.features)[0].detach()  # also while it is frozen
    seen = F.pad(turned, (0, inputs.shape[3] - image.shape[3], 0, inputs.shape[2] - image.shape[2])).to(inputs.device)
    below = draw_warp_grid(_rgb(warp.transform_images(seen)), warp, lines)
    return np.concatenate([_rgb(seen), np.full((_GAP, below.shape[1], 3), 255, np.uint8), below])


def _rgb(images: Tensor) -> np.ndarray:
    """Images (1, 3, H, W) of BGR in 0..255 as (H, W, 3) RGB uint8."""
    return np.ascontiguousarray(images[0].flip(0).permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy())
