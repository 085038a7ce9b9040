"""Multi-scale deformable attention whose sampling points turn with the box of a query.

Letters: N images, S positions of all levels, C channels, G heads, Q queries, L levels, K points.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ...ops import ms_deform_attn_fused
from ...ops.reference.ms_deform_attn_fused import ms_deform_attn_fused_reference, sampling_locations


class Sampling(NamedTuple):
    """Where an attention layer looked.

    Attributes:
        locations: (N, Q, G, L, K, 2) x and y as fractions of the padded input, which every level covers.
        weights: (N, Q, G, L, K) attention, which adds up to 1 over L and K.
    """

    locations: Tensor
    weights: Tensor


@MODELS.register_module()
class RotatedDeformableAttention(BaseModule):
    """Deformable attention for references that are points, boxes or oriented boxes.

    The attention of "Deformable DETR" https://arxiv.org/abs/2010.04159. For an oriented reference the offsets, measured
    in half sides of the box, are turned by its angle **in pixels**: a point ahead of the box stays ahead of it at every
    angle, in images that are not square as well. Turned sampling points were proposed in "ARS-DETR"
    https://arxiv.org/abs/2303.04989. An angle and its opposite describe one box and look at points mirrored through its
    centre: a state that crosses the seam of le90 changes heads that look ahead into heads that look back.

    Parameters have the names and shapes of mmcv's ``MultiScaleDeformableAttention``, so its weights load.

    Args:
        embed_dims: channels C of queries and values.
        num_heads: G, a divisor of C.
        num_levels: L.
        num_points: K of each head and level.
        dropout: probability of dropout before the identity is added.
        batch_first: must be True: tensors begin with N.
        fused: softmax, locations and sampling in one operator; False for plain PyTorch, which gives the same slowly.
        rotate: turn offsets by the angle of the reference; False forgets the angle and keeps the rest, for comparison.
        angle_offsets: learn an angle for each head that is added to that of the reference; it starts at 0.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the heads do not divide the channels, or the options do not go together.

    Example:
        >>> import torch, stn_det.register
        >>> from stn_det.models.layers import RotatedDeformableAttention
        >>> attention = RotatedDeformableAttention(embed_dims=16, num_heads=2, num_levels=1)
        >>> boxes = torch.tensor([0.5, 0.5, 0.4, 0.1, 0.7]).expand(1, 3, 1, 5)
        >>> shapes, start = torch.tensor([[4, 6]]), torch.tensor([0])
        >>> query, value = torch.zeros(1, 3, 16), torch.zeros(1, 24, 16)
        >>> sizes = dict(spatial_shapes=shapes, level_start_index=start)
        >>> tuple(attention(query, value=value, reference_points=boxes, **sizes).shape)
        (1, 3, 16)
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.1,
        batch_first: bool = True,
        fused: bool = True,
        rotate: bool = True,
        angle_offsets: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise ConfigError(f'num_heads is {num_heads}; expected a divisor of embed_dims, which is {embed_dims}')
        if not batch_first:
            raise ConfigError('batch_first is False; expected True: all tensors begin with the images')
        if angle_offsets and not rotate:
            raise ConfigError('angle_offsets is True and rotate is False; expected rotate=True, or no angle_offsets')
        self.embed_dims, self.num_heads = embed_dims, num_heads
        self.num_levels, self.num_points = num_levels, num_points
        self.batch_first, self.fused, self.rotate = batch_first, fused, rotate
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dims, samples * 2)
        self.attention_weights = nn.Linear(embed_dims, samples)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.angle_offsets = nn.Parameter(torch.zeros(num_heads)) if angle_offsets else None
        self.record: list[Sampling] | None = None
        self.reset_parameters()

    def init_weights(self) -> None:
        """What :meth:`reset_parameters` does, then what ``init_cfg`` says."""
        self.reset_parameters()
        if self.init_cfg:
            super().init_weights()

    def reset_parameters(self) -> None:
        """Head g looks in direction 2 pi g / G, point k at k + 1 steps along it, all with equal weight."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angles.cos(), angles.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # onto the outline of a square
        steps = direction[:, None, None] * torch.arange(1, self.num_points + 1)[:, None]  # (G, 1, K, 2)
        with torch.no_grad():
            self.sampling_offsets.weight.zero_()
            self.sampling_offsets.bias.copy_(steps.expand(-1, self.num_levels, -1, -1).flatten())
            for layer in (self.attention_weights.weight, self.attention_weights.bias):
                layer.zero_()
            for projection in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(projection.weight)
                projection.bias.zero_()
            if self.angle_offsets is not None:
                self.angle_offsets.zero_()

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        level_start_index: Tensor | None = None,
    ) -> Tensor:
        """What the queries find around their references, added to ``identity``.

        Args:
            query: (N, Q, C).
            key: not used; mmdet's layers pass it.
            value: (N, S, C), the levels flattened row by row and joined; the query if None.
            identity: (N, Q, C) added to the result; the query if None.
            query_pos: (N, Q, C) added to the query for offsets and weights.
            key_pos: not used.
            attn_mask: not used.
            key_padding_mask: (N, S) bool, true where the value is padding and reads as 0.
            reference_points: (N, Q, L, 2, 4 or 5) in fractions of the padded input and radians, see
                :meth:`BoxState.level_references`.
            spatial_shapes: (L, 2) int64, rows (H, W).
            level_start_index: (L,) int64, first position of each level.

        Returns:
            (N, Q, C).

        Raises:
            InputError: when references or levels are missing.
        """
        if reference_points is None or spatial_shapes is None or level_start_index is None:
            raise InputError(
                'RotatedDeformableAttention got None for reference_points, spatial_shapes or level_start_index; '
                'expected all three'
            )
        identity = query if identity is None else identity
        value = query if value is None else value
        sought = query if query_pos is None else query + query_pos
        values = self._values(value, key_padding_mask)
        where = self._where(sought, reference_points, spatial_shapes)
        found = self._sample(values, spatial_shapes, level_start_index, *where)
        result: Tensor = self.dropout(self.output_proj(found)) + identity
        return result

    def _values(self, value: Tensor, padding: Tensor | None) -> Tensor:
        """Projected values (N, S, G, C / G), 0 in the padding."""
        values = self.value_proj(value)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0.0)
        return values.unflatten(-1, (self.num_heads, -1))

    def _where(self, sought: Tensor, references: Tensor, spatial_shapes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """References (N, Q, L, 2 | 4 | 5), offsets (N, Q, G, L, K, 2) and logits (N, Q, G, L * K), float32 at least."""
        shape = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(sought).unflatten(-1, (*shape, 2))
        logits = self.attention_weights(sought).unflatten(-1, (self.num_heads, -1))
        if references.shape[-1] == 5 and not self.rotate:
            references = references[..., :4]
        if offsets.dtype in (torch.float16, torch.bfloat16):
            offsets, logits = offsets.float(), logits.float()
        if self.angle_offsets is not None:
            offsets = turn_offsets(offsets, self.angle_offsets, references, spatial_shapes)
        return references, offsets, logits

    def _sample(
        self, values: Tensor, shapes: Tensor, starts: Tensor, references: Tensor, offsets: Tensor, logits: Tensor
    ) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            if self.record is not None:
                locations = sampling_locations(references.detach().to(offsets.dtype), offsets.detach(), shapes)
                self.record.append(Sampling(locations, logits.detach().softmax(-1).view(offsets.shape[:-1])))
            if self.fused:
                return ms_deform_attn_fused(values, shapes, starts, references, offsets, logits)
            return ms_deform_attn_fused_reference(values, shapes, starts, references, offsets, logits)


def turn_offsets(offsets: Tensor, angles: Tensor, references: Tensor, spatial_shapes: Tensor) -> Tensor:
    """Offsets that an attention without angles of heads needs to sample as if head g were turned by its own.

    Args:
        offsets: (N, Q, G, L, K, 2), pixels of a level for points, in half sides (times K) for boxes.
        angles: (G,) radians, clockwise on screen.
        references: (N, Q, L, 2, 4 or 5) in fractions of the level.
        spatial_shapes: (L, 2) rows (H, W).

    Returns:
        (N, Q, G, L, K, 2): turned where pixels are measured, then measured in sides again.
    """
    cos, sin = (part.to(offsets.dtype)[:, None, None] for part in (angles.cos(), angles.sin()))
    x, y = offsets.unbind(-1)
    if references.shape[-1] == 2:
        return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
    sides = references[..., 2:4].to(offsets.dtype) * spatial_shapes.flip(1).to(offsets.dtype)
    width, height = sides.clamp(min=1e-6)[:, :, None, :, None].unbind(-1)  # (N, Q, 1, L, 1)
    return torch.stack([cos * x - sin * y * (height / width), sin * x * (width / height) + cos * y], -1)


@contextmanager
def record_sampling(model: nn.Module) -> Iterator[dict[str, list[Sampling]]]:
    """Keep what every :class:`RotatedDeformableAttention` of a model samples while the context lasts.

    Yields:
        For each attention module, by its name in the model, one entry a call; detached, on the device of the model.
    """
    modules = {name: part for name, part in model.named_modules() if isinstance(part, RotatedDeformableAttention)}
    records: dict[str, list[Sampling]] = {name: [] for name in modules}
    try:
        for name, part in modules.items():
            part.record = records[name]
        yield records
    finally:
        for part in modules.values():
            part.record = None
