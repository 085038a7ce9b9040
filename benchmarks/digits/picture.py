"""What trained transformers do to test digits: under each distortion the digits, then what each model makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det.visualization.files import save_image
from stn_det.visualization.text import blend, text_mask

from .data import load
from .distortions import CANVAS, distort
from .networks import FAMILIES, build
from .training import TEST_SEED, Run, Settings, weights_file

COLUMNS, TILE, GAP, MARGIN, FONT = 16, 48, 3, 96, 15  # digits, pixels


@torch.no_grad()
def draw(path: Path, settings: Settings, folder: Path) -> Path | None:
    """An image of the models whose weights of seed 0 lie in ``folder``; None if there are no weights.

    Returns:
        ``path``.
    """
    _, test = load(settings.mnist, settings.validate)
    rows: list[tuple[str, Tensor]] = []
    for distortion, side in CANVAS.items():
        generator = torch.Generator().manual_seed(TEST_SEED)
        images = distort(test.images[:COLUMNS], distortion, generator)
        found = {}
        for model in FAMILIES:
            weights = weights_file(Run(distortion, model, 0), folder)
            if weights.is_file():
                network = build(model, side, settings.parameters).eval()
                network.load_state_dict(torch.load(weights, weights_only=True))
                found[model] = network.transformer(images).images
        if found:
            rows += [(distortion, images), *found.items()]
    if not rows:
        return None
    return save_image(path, np.concatenate([_row(name, images, name in CANVAS) for name, images in rows]))


def _row(name: str, images: Tensor, is_input: bool) -> np.ndarray:
    """A labelled row of digits at one size; more room above the rows of a distortion."""
    tiles = F.interpolate(images.clamp(0, 1), size=(TILE, TILE), mode='bilinear', align_corners=False)
    top = 4 * GAP if is_input else GAP
    row = np.full((top + TILE, MARGIN + COLUMNS * (TILE + GAP), 3), 255, dtype=np.uint8)
    for column, tile in enumerate((tiles[:, 0] * 255).byte().numpy()):
        left = MARGIN + column * (TILE + GAP)
        row[top:, left : left + TILE] = tile[..., None]
    mask = text_mask(name, FONT, bold=is_input)
    blend(row, mask, MARGIN - mask.shape[1] - 2 * GAP, top + (TILE - mask.shape[0]) // 2, (0, 0, 0))
    return row
