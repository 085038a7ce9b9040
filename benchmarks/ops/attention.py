"""Multi-scale deformable attention against its form on ``grid_sample``, which is what mmcv falls back to on a CPU."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.case import Case, backward_of
from stn_det.ops import ms_deform_attn
from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference

R50_ENCODER = ((100, 167), (50, 84), (25, 42), (13, 21))  # 800 x 1333, strides 8 to 64
DOTA_ENCODER = ((128, 128), (64, 64), (32, 32), (16, 16))  # 1024 x 1024


def grid_sample_attention(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Deformable attention as one ``grid_sample`` a level, then a weighted sum."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    sampled = []
    parts = value.split([int(height * width) for height, width in shapes], dim=1)
    for level, (part, (height, width)) in enumerate(zip(parts, shapes.tolist())):
        maps = part.flatten(2).transpose(1, 2).reshape(batch * heads, channels, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode='bilinear', padding_mode='zeros', align_corners=False))
    flat = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * flat).sum(-1)
    assert output.shape == (batch * heads, channels, queries), points
    return output.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def attention_inputs(sizes: tuple, queries: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Arguments of one image, 8 heads of 32 channels, 4 points: offsets as Deformable DETR starts with, and noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor(sizes)
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    positions = int(shapes.prod(1).sum())
    value = torch.randn(1, positions, 8, 32, generator=generator).to(dtype)
    if queries is None:  # an encoder: every position is a query
        centres = [
            torch.stack(torch.meshgrid((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h, indexing='xy'), -1)
            for h, w in sizes
        ]
        reference = torch.cat([part.reshape(-1, 2) for part in centres])
    else:
        reference = torch.rand(queries, 2, generator=generator)
    angle = torch.arange(8) * (2 * torch.pi / 8)
    ray = torch.stack([angle.cos(), angle.sin()], -1)  # (8, 2), one direction a head
    offsets = ray[:, None, None] * torch.arange(1, 5).view(1, 1, 4, 1)  # pixels
    offsets = offsets + 2 * torch.randn(reference.shape[0], 8, len(sizes), 4, 2, generator=generator)
    locations = reference[:, None, None, None] + offsets / shapes.flip(1)[:, None]
    weights = torch.rand(1, *locations.shape[:-1], generator=generator).flatten(3).softmax(-1)
    return value, shapes, starts, locations[None], weights.view(1, *locations.shape[:-1])


def cases() -> Iterator[Case]:
    """Encoder and decoder shapes; forward and backward."""
    for name, sizes, queries, dtype in (
        ('R50 encoder, 22223 queries', R50_ENCODER, None, torch.float32),
        ('R50 encoder, 22223 queries, bfloat16', R50_ENCODER, None, torch.bfloat16),
        ('DOTA 1024 encoder, 21760 queries', DOTA_ENCODER, None, torch.float32),
        ('R50 decoder, 900 queries', R50_ENCODER, 900, torch.float32),
    ):
        value, shapes, starts, locations, weights = attention_inputs(sizes, queries, dtype)

        def ours(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts) -> Tensor:
            return ms_deform_attn(v, shapes, starts, p, w)

        def python(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts) -> Tensor:
            return ms_deform_attn_reference(v, shapes, starts, p, w)

        def peer(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes) -> Tensor:
            return grid_sample_attention(v.float(), shapes, p, w)

        leaves = [value, locations, weights]
        functions = {'stn_det': ours, 'grid_sample': peer, 'stn_det, plain PyTorch': python}
        error = max((ours(*leaves).float() - peer(*leaves)).abs().max().item(), 0.0)
        if error > (1e-4 if dtype == torch.float32 else 0.05):
            raise RuntimeError(f'the implementations disagree by {error} on {name}')
        with torch.no_grad():
            yield Case('ms_deform_attn', name, 'forward', {k: partial(f, *leaves) for k, f in functions.items()})
        yield Case('ms_deform_attn', name, 'backward', {k: backward_of(f, leaves) for k, f in functions.items()})
