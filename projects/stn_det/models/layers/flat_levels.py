"""Pyramid levels as one sequence of tokens, and which of the tokens are padding.

Letters: N images, C channels, L levels, S positions of all levels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures import SampleList
from torch import Tensor


class Frame(NamedTuple):
    """The images of a batch inside of the padded input.

    Attributes:
        sizes: N sizes (H, W) in pixels, without padding.
        batch_shape: size (Hb, Wb) of the padded input.
        img_shapes: (N, 2) float32, ``sizes`` on the device.
    """

    sizes: tuple[tuple[int, int], ...]
    batch_shape: tuple[int, int]
    img_shapes: Tensor

    @classmethod
    def of(cls, samples: SampleList | None, feats: Sequence[Tensor]) -> 'Frame':
        """Frame of N samples with ``img_shape`` and ``batch_input_shape``; without samples, of maps without padding."""
        if samples is None:
            batch_shape = tuple(feats[0].shape[-2:])
            sizes = (batch_shape,) * feats[0].shape[0]
        else:
            batch_shape = tuple(samples[0].metainfo['batch_input_shape'])
            sizes = tuple(tuple(sample.metainfo['img_shape'][:2]) for sample in samples)
        return cls(sizes, batch_shape, torch.tensor(sizes, dtype=torch.float32, device=feats[0].device))


class FlatLevels(NamedTuple):
    """Features of all levels, row by row and one after the other.

    Attributes:
        tokens: (N, S, C).
        padding: (N, S) bool, true for tokens whose cell's centre lies outside of the image; None if there are none.
        shapes: L sizes (H_l, W_l).
        spatial_shapes: (L, 2) int64, ``shapes`` on the device.
        level_start_index: (L,) int64, first position of each level.
    """

    tokens: Tensor
    padding: Tensor | None
    shapes: tuple[tuple[int, int], ...]
    spatial_shapes: Tensor
    level_start_index: Tensor

    @classmethod
    def join(cls, feats: Sequence[Tensor], masks: Sequence[Tensor] | None) -> 'FlatLevels':
        """Flattens L maps (N, C, H_l, W_l) and the masks (N, H_l, W_l) of :func:`padding_masks`."""
        device = feats[0].device
        shapes = tuple((int(feat.shape[-2]), int(feat.shape[-1])) for feat in feats)
        counts = torch.tensor([0, *(height * width for height, width in shapes[:-1])])
        return cls(
            tokens=torch.cat([feat.flatten(2).transpose(1, 2) for feat in feats], 1),
            padding=None if masks is None else torch.cat([mask.flatten(1) for mask in masks], 1),
            shapes=shapes,
            spatial_shapes=torch.tensor(shapes, device=device),
            level_start_index=counts.cumsum(0).to(device),
        )

    def kwargs(self) -> dict[str, Tensor | None]:
        """What an attention layer needs to know about its values, under mmcv's names."""
        return dict(
            key_padding_mask=self.padding,
            spatial_shapes=self.spatial_shapes,
            level_start_index=self.level_start_index,
        )


def padding_masks(feats: Sequence[Tensor], frame: Frame) -> list[Tensor] | None:
    """Where the centres of cells lie in the padding: (N, H_l, W_l) bool of each map; None if no image has any."""
    if all(size == frame.batch_shape for size in frame.sizes):
        return None
    masks = []
    for feat in feats:
        centres = cell_centres([feat.shape[-2:]], feat.device) * centres_scale(frame, feat.device)
        outside = centres[None] >= frame.img_shapes.flip(1)[:, None]  # (N, H W, 2)
        masks.append(outside.any(-1).unflatten(-1, feat.shape[-2:]))
    return masks


def centres_scale(frame: Frame, device: torch.device) -> Tensor:
    """(Wb, Hb) of the padded input as a tensor (2,)."""
    height, width = frame.batch_shape
    return torch.tensor([width, height], dtype=torch.float32, device=device)


def cell_centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres (S, 2) of the cells of all levels, x and y as fractions of the padded input."""
    grids = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        grids.append(torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1))
    return torch.cat(grids)
