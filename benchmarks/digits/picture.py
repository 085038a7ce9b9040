"""What trained transformers do to test digits: each row before and after."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from stn_det.visualization.files import save_image

from .data import load
from .distortions import CANVAS, distort
from .networks import FAMILIES, build
from .training import TEST_SEED, Run, Settings, weights_file

COLUMNS, GAP, ZOOM = 16, 3, 2


@torch.no_grad()
def draw(path: Path, settings: Settings, folder: Path) -> Path | None:
    """A PNG of two rows for each distortion and transformer whose weights of seed 0 lie in ``folder``.

    The upper row is what the transformer sees, the lower one what it makes of it. None if there are no weights.
    """
    _, test = load(settings.mnist, settings.validate)
    rows = []
    for distortion, side in CANVAS.items():
        generator = torch.Generator().manual_seed(TEST_SEED)
        images = distort(test.images[:COLUMNS], distortion, generator)
        for model in FAMILIES:
            weights = weights_file(Run(distortion, model, 0), folder)
            if weights.is_file():
                network = build(model, side, settings.parameters).eval()
                network.load_state_dict(torch.load(weights, weights_only=True))
                rows += [images, network.transformer(images).images]
    if not rows:
        return None
    tiles = torch.cat([torch.cat([_tile(image) for image in row], 1) for row in rows])
    grey = (tiles.clamp(0, 1) * 255).byte().repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1)
    return save_image(path, grey[..., None].expand(-1, -1, 3).numpy())


def _tile(image: Tensor) -> Tensor:
    """An image (1, H, W) in the middle of a square of the largest canvas, on grey, with a gap."""
    side, high = max(CANVAS.values()) + GAP, image.shape[-1]
    tile = torch.full((side, side), 0.3)
    start = (side - high) // 2
    tile[start : start + high, start : start + high] = image[0]
    return tile
