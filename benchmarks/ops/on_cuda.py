"""What is measured on a GPU: operators, shapes, dtypes, where points lie, and the peers that are installed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.attention import DOTA_ENCODER, R50_ENCODER, grid_sample_attention, locate, query_inputs
from stn_det import ops

try:
    from deformops.integrations._ops import run_msda as deformops_attention
except ImportError:
    deformops_attention = None
try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except ImportError:
    torchvision_deform_conv2d = None

FIVE_SCALES = ((200, 334), *R50_ENCODER)  # 800 x 1333, strides 4 to 64
SMALL = ((12, 20), (6, 10), (3, 5), (2, 3))  # for rehearsals without a GPU


@dataclass(frozen=True)
class GpuCase:
    """One operator, shape and dtype; functions of the same leaves that compute the same, the first is ours.

    ``bytes`` counts each input read and each output written once, forward and backward; None: not counted.
    """

    operator: str
    shape: str
    dtype: torch.dtype
    points: str
    functions: dict[str, Callable[..., Tensor]]
    leaves: list[Tensor]
    bytes: tuple[int, int] | None = None
    backward: bool = True


def cases(device: str, small: bool) -> Iterator[GpuCase]:
    """All of them; ``small`` ones finish on a CPU in a minute."""
    yield from attention_cases(device, small)
    yield from convolution_cases(device, small)
    yield from warp_cases(device, small)
    yield from rotated_cases(device, small)
    yield from roi_cases(device, small)


def attention_cases(device: str, small: bool) -> Iterator[GpuCase]:
    """Encoders and decoders; points as Deformable DETR starts, and anywhere, which is the worst for caches."""
    plan = [
        ('R50 encoder', R50_ENCODER, None, (1, 2, 8)),
        ('DOTA 1024 encoder', DOTA_ENCODER, None, (2,)),
        ('five-scale encoder', FIVE_SCALES, None, (1,)),
        ('R50 decoder, 300 queries', R50_ENCODER, 300, (2,)),
        ('R50 decoder, 900 queries', R50_ENCODER, 900, (2,)),
    ]
    if small:
        plan = [('small encoder', SMALL, None, (2,)), ('small decoder, 30 queries', SMALL, 30, (1,))]
    for name, sizes, queries, batches in plan:
        for batch in batches:
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                for points in ('near', 'anywhere'):
                    if points == 'anywhere' and (batch != 2 or queries is not None):
                        continue
                    inputs = _attention_inputs(sizes, queries, batch, dtype, points, device)
                    shape = f'{name}, N = {batch}'
                    yield _given_case(shape, points, *inputs)
                    yield _fused_case(shape, points, *inputs)


def _attention_inputs(
    sizes: tuple, queries: int | None, batch: int, dtype: torch.dtype, points: str, device: str
) -> tuple[Tensor, ...]:
    value, shapes, starts, references, offsets, logits = query_inputs(sizes, queries, torch.float32)
    if points == 'anywhere':
        size = shapes.flip(1).float()[:, None]
        offsets = (torch.rand(offsets.shape) - references[:, :, None, :, None]) * size
    repeated = [part.expand(batch, *part.shape[1:]).contiguous() for part in (references, offsets, logits)]
    values = torch.randn(batch, *value.shape[1:]).to(dtype)
    return tuple(part.to(device) for part in (values, shapes, starts, *repeated))


def _given_case(
    shape: str, points: str, value: Tensor, shapes: Tensor, starts: Tensor, references: Tensor, *rest: Tensor
) -> GpuCase:
    offsets, logits = rest
    places = locate(references, offsets, shapes)
    weights = logits.softmax(-1).view(offsets.shape[:-1])
    sizes = shapes.cpu()

    def ours(v: Tensor, p: Tensor, w: Tensor) -> Tensor:
        return ops.ms_deform_attn(v, shapes, starts, p, w)

    def peer(v: Tensor, p: Tensor, w: Tensor) -> Tensor:
        return grid_sample_attention(v.float(), sizes, p, w)

    functions = {'stn_det': ours, 'grid_sample': peer}
    if deformops_attention is not None:

        def deformops(v: Tensor, p: Tensor, w: Tensor) -> Tensor:
            return deformops_attention(v, shapes, starts, p, w.to(v.dtype), chunk_step=128, backend=None)

        functions['deformops'] = deformops
    leaves = [value, places, weights]
    return GpuCase('ms_deform_attn', shape, value.dtype, points, functions, leaves, _attention_bytes(leaves))


def _fused_case(
    shape: str, points: str, value: Tensor, shapes: Tensor, starts: Tensor, references: Tensor, *rest: Tensor
) -> GpuCase:
    offsets, logits = rest
    sizes = shapes.cpu()

    def parts(o: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return locate(references, o, shapes), w.softmax(-1).view(o.shape[:-1])

    def ours(v: Tensor, o: Tensor, w: Tensor) -> Tensor:
        return ops.ms_deform_attn_fused(v, shapes, starts, references, o, w)

    def unfused(v: Tensor, o: Tensor, w: Tensor) -> Tensor:
        return ops.ms_deform_attn(v, shapes, starts, *parts(o, w))

    def peer(v: Tensor, o: Tensor, w: Tensor) -> Tensor:
        return grid_sample_attention(v.float(), sizes, *parts(o, w))

    functions = {'stn_det': ours, 'stn_det, not fused': unfused, 'grid_sample': peer}
    if deformops_attention is not None:

        def deformops(v: Tensor, o: Tensor, w: Tensor) -> Tensor:
            places, weights = parts(o, w)
            return deformops_attention(v, shapes, starts, places, weights.to(v.dtype), chunk_step=128, backend=None)

        functions['deformops, not fused'] = deformops
    leaves = [value, offsets, logits]
    return GpuCase('ms_deform_attn_fused', shape, value.dtype, points, functions, leaves, _attention_bytes(leaves))


def _attention_bytes(leaves: list[Tensor]) -> tuple[int, int]:
    value, points, _ = leaves
    queries, heads, channels = points.shape[1], value.shape[2], value.shape[3]
    output = value.shape[0] * queries * heads * channels * value.element_size()
    read = sum(part.numel() * part.element_size() for part in leaves)
    grads = 4 * sum(part.numel() for part in leaves) + 4 * value.numel()  # that of the value is zeroed first
    return read + output, read + output + grads


def convolution_cases(device: str, small: bool) -> Iterator[GpuCase]:
    """Deformable convolution v2, 3 x 3, of one level of a neck."""
    channels, size, batch = (16, 12, 1) if small else (256, 64, 8)
    for dtype in (torch.float32, torch.float16):
        image = torch.randn(batch, channels, size, size, device=device).to(dtype)
        offset = 2 * torch.randn(batch, 18, size, size, device=device)
        mask = torch.rand(batch, 9, size, size, device=device)
        weight = (torch.randn(channels, channels, 3, 3, device=device) / channels).to(dtype)

        def ours(x: Tensor, o: Tensor, m: Tensor, w: Tensor) -> Tensor:
            return ops.deform_conv2d(x, o, w, None, 1, 1, 1, m)

        functions = {'stn_det': ours}
        if torchvision_deform_conv2d is not None:

            def peer(x: Tensor, o: Tensor, m: Tensor, w: Tensor) -> Tensor:
                return torchvision_deform_conv2d(x, o.to(x.dtype), w, None, 1, 1, 1, m.to(x.dtype))

            functions['torchvision'] = peer
        shape = f'{batch} x {channels} x {size} x {size}'
        yield GpuCase('deform_conv2d', shape, dtype, 'near', functions, [image, offset, mask, weight])


def warp_cases(device: str, small: bool) -> Iterator[GpuCase]:
    """An affine warp of feature maps and of images, and the same with given points that waver."""
    for channels, size in ((4, 16),) if small else ((64, 256), (3, 1024)):
        for dtype in (torch.float32, torch.bfloat16):
            image = torch.randn(8, channels, size, size, device=device).to(dtype)
            turn = torch.tensor([[0.95, 0.2, 3.0], [-0.2, 0.95, 5.0]], device=device).expand(8, 2, 3).contiguous()

            def ours(x: Tensor, m: Tensor, size: int = size) -> Tensor:
                return ops.warp_sample(x, m, (size, size))

            def peer(x: Tensor, m: Tensor, size: int = size) -> Tensor:
                centre = m[..., :2].sum(-1) * size / 2 + m[..., 2] - size / 2
                theta = torch.cat([m[..., :2], (2 * centre / size)[..., None]], -1)
                grid = F.affine_grid(theta, [8, x.shape[1], size, size], align_corners=False)
                return F.grid_sample(x, grid.to(x.dtype), align_corners=False)

            nbytes = image.numel() * image.element_size()
            shape = f'8 x {channels} x {size} x {size}'
            functions = {'stn_det': ours, 'affine_grid, grid_sample': peer}
            yield GpuCase('warp_sample', shape, dtype, 'near', functions, [image, turn], (2 * nbytes, 4 * nbytes))
            yield _remap_case(shape, image, turn[0])


def _remap_case(shape: str, image: Tensor, turn: Tensor) -> GpuCase:
    """The points of the turn with waves of 4 pixels, as a flow or a spline has them."""
    size = image.shape[2]
    ticks = torch.arange(size, device=image.device) + 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing='ij')
    flow = torch.stack([torch.sin(y / 20), torch.cos(x / 25)], -1)
    points = torch.stack([x, y], -1) @ turn[:, :2].T + turn[:, 2] + 4 * flow

    def peer(x: Tensor, p: Tensor) -> Tensor:
        return F.grid_sample(x, (2 * p / size - 1).to(x.dtype), align_corners=False)

    points = points.expand(image.shape[0], -1, -1, -1).contiguous()
    moved = 2 * image.numel() * image.element_size()
    places = points.numel() * points.element_size()
    functions = {'stn_det': ops.remap, 'grid_sample': peer}
    counted = moved + places, 2 * moved + 2 * places
    return GpuCase('remap', shape, image.dtype, 'near', functions, [image, points], counted)


def rotated_cases(device: str, small: bool) -> Iterator[GpuCase]:
    """Overlaps of random boxes on 1024 pixels, and their suppression."""
    count, many = (100, 200) if small else (10_000, 20_000)
    scale = torch.tensor([1024.0, 1024, 100, 40, 3.14], device=device)
    boxes = torch.rand(many, 5, device=device) * scale + torch.tensor([0, 0, 4, 4, 0], device=device)
    scores = torch.rand(many, device=device)
    order = scores.argsort(descending=True)
    labels = torch.zeros_like(order)
    functions: dict[str, Callable[..., Tensor]] = {'stn_det': lambda a: ops.box_iou_rotated(a, a)}
    yield GpuCase(
        'box_iou_rotated', f'{count} x {count}', torch.float32, '', functions, [boxes[:count]], None, backward=False
    )
    functions = {'stn_det': lambda a: torch.ops.stn_det.nms_rotated(a, order, labels, 0.1)}
    yield GpuCase('nms_rotated', f'{many} boxes', torch.float32, '', functions, [boxes], None, backward=False)


def roi_cases(device: str, small: bool) -> Iterator[GpuCase]:
    """RoIs of 7 x 7 bins on one level."""
    count, channels, size = (8, 8, 20) if small else (512, 256, 200)
    for dtype in (torch.float32, torch.float16):
        image = torch.randn(2, channels, size, size, device=device).to(dtype)
        rois = torch.rand(count, 6, device=device) * torch.tensor([1.9, 4 * size, 4 * size, 400, 200, 3], device=device)
        rois[:, 0] = rois[:, 0].floor()

        def ours(x: Tensor, rois: Tensor = rois) -> Tensor:
            return ops.roi_align_rotated(x, rois, 7, 0.25, 2, clockwise=True)

        shape = f'{count} RoIs, {channels} channels'
        yield GpuCase('roi_align_rotated', shape, dtype, '', {'stn_det': ours}, [image])
