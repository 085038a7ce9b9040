"""Multi-scale deformable attention against its form on ``grid_sample``, which is what mmcv falls back to on a CPU."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.case import Case, both_passes
from stn_det.ops import ms_deform_attn, ms_deform_attn_fused
from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference

try:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch as mmcv_attention
except ImportError:
    mmcv_attention = None

Sizes = Sequence[Sequence[int]]  # (height, width) of each level
R50_ENCODER = ((100, 167), (50, 84), (25, 42), (13, 21))  # 800 x 1333, strides 8 to 64
DOTA_ENCODER = ((128, 128), (64, 64), (32, 32), (16, 16))  # 1024 x 1024


def grid_sample_attention(value: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """Deformable attention as one ``grid_sample`` a level, then a weighted sum."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    sampled = []
    parts = value.split([height * width for height, width in sizes], dim=1)
    for level, (part, (height, width)) in enumerate(zip(parts, sizes)):
        maps = part.flatten(2).transpose(1, 2).reshape(batch * heads, channels, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode='bilinear', padding_mode='zeros', align_corners=False))
    flat = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * flat).sum(-1)
    return output.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def query_inputs(sizes: Sizes, queries: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Value, shapes, starts, references, offsets and logits of one image, 8 heads of 32 channels, 4 points.

    Offsets are those that Deformable DETR starts with, and noise of two pixels.
    """
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
    logits = torch.randn(1, *offsets.shape[:-1], generator=generator).flatten(3)
    references = reference[:, None].expand(-1, len(sizes), -1).contiguous()
    return value, shapes, starts, references[None], offsets[None], logits


def attention_inputs(sizes: Sizes, queries: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The same with locations and weights in place of references, offsets and logits."""
    value, shapes, starts, references, offsets, logits = query_inputs(sizes, queries, dtype)
    return value, shapes, starts, locate(references, offsets, shapes), logits.softmax(-1).view(offsets.shape[:-1])


def locate(references: Tensor, offsets: Tensor, shapes: Tensor) -> Tensor:
    """Locations of reference points, boxes or oriented boxes as one writes them in PyTorch."""
    size = shapes.flip(1).to(offsets.dtype)[:, None]
    points = references[:, :, None, :, None]
    if points.shape[-1] == 2:
        return points + offsets / size
    shift = offsets / offsets.shape[4] * points[..., 2:4] * 0.5 * size
    cos, sin = points[..., 4].cos(), points[..., 4].sin()
    turned = [cos * shift[..., 0] - sin * shift[..., 1], sin * shift[..., 0] + cos * shift[..., 1]]
    return points[..., :2] + torch.stack(turned, -1) / size


def cases() -> Iterator[Case]:
    """Encoder and decoder shapes; forward and backward; locations and weights given, then computed inside."""
    yield from given_cases()
    yield from fused_cases()


def fused_cases() -> Iterator[Case]:
    """References, offsets and logits; the peer computes softmax and locations in PyTorch, then as for given ones."""
    for name, sizes, queries, oriented in (
        ('R50 encoder, 22223 queries', R50_ENCODER, None, False),
        ('R50 encoder, 22223 queries, oriented boxes', R50_ENCODER, None, True),
        ('R50 decoder, 900 queries, oriented boxes', R50_ENCODER, 900, True),
    ):
        value, shapes, starts, references, offsets, logits = query_inputs(sizes, queries, torch.float32)
        if oriented:
            turn = 3 * references[..., :1]
            references = torch.cat([references, 0.05 + 0.1 * references.flip(-1), turn], -1)

        def ours(
            v: Tensor, r: Tensor, o: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts
        ) -> Tensor:
            return ms_deform_attn_fused(v, shapes, starts, r, o, w)

        def unfused(
            v: Tensor, r: Tensor, o: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts
        ) -> Tensor:
            return ms_deform_attn(v, shapes, starts, locate(r, o, shapes), w.softmax(-1).view(o.shape[:-1]))

        def peer(v: Tensor, r: Tensor, o: Tensor, w: Tensor, shapes: Tensor = shapes, sizes: Sizes = sizes) -> Tensor:
            return grid_sample_attention(v, sizes, locate(r, o, shapes), w.softmax(-1).view(o.shape[:-1]))

        functions = {'stn_det': ours, 'grid_sample': peer, 'stn_det, not fused': unfused}
        yield from both_passes('ms_deform_attn_fused', name, functions, [value, references, offsets, logits], 1e-4)


def given_cases() -> Iterator[Case]:
    """Locations and weights as arguments."""
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

        def peer(v: Tensor, p: Tensor, w: Tensor, sizes: Sizes = sizes) -> Tensor:
            return grid_sample_attention(v.float(), sizes, p, w)

        leaves = [value, locations, weights]
        functions = {'stn_det': ours, 'grid_sample': peer, 'stn_det, plain PyTorch': python}
        if mmcv_attention is not None:
            functions['mmcv'] = lambda v, p, w, shapes=shapes: mmcv_attention(v.float(), shapes, p, w)
        yield from both_passes('ms_deform_attn', name, functions, leaves, 1e-4 if dtype == torch.float32 else 0.05)
