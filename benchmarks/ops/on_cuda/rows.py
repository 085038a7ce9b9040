"""The plan of a run: what is measured, the most important first.

Default: the encoder of R50 with two images, where everybody takes part, and enough of the rest to see what differs.
``full``: every shape with every dtype and every model of where points lie.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from ops.attention import DOTA_ENCODER, R50_ENCODER
from ops.on_cuda import attention, boxes, dense
from ops.on_cuda.attention import COMPILED, EAGER, Peers
from ops.on_cuda.case import Case, Row
from ops.on_cuda.points import PATTERNS, Queries, Shape, draw, load

FIVE_SCALES = ((200, 334), *R50_ENCODER)  # 800 x 1333, strides 4 to 64
SMALL = ((12, 20), (6, 10), (3, 5), (2, 3))  # for rehearsals without a GPU
DTYPES = (torch.bfloat16, torch.float32, torch.float16)
TWO_DTYPES = DTYPES[:2]
SPREAD = PATTERNS[0]

ENCODER = Shape('R50 encoder', R50_ENCODER, None, 2)
DOTA = Shape('DOTA 1024 encoder', DOTA_ENCODER, None, 2)
FIVE = Shape('five-scale encoder', FIVE_SCALES, None, 1)
ENCODERS = (Shape('R50 encoder', R50_ENCODER, None, 1), Shape('R50 encoder', R50_ENCODER, None, 8), DOTA, FIVE)
DECODERS = tuple(Shape(f'R50 decoder, {queries} queries', R50_ENCODER, queries, 2) for queries in (300, 900))
# 256 channels in all, as in every model of the family.
WIDTHS = tuple(Shape('R50 encoder', R50_ENCODER, None, 2, 256 // channels, channels) for channels in (16, 64))
POINTS = Shape('R50 encoder', R50_ENCODER, None, 2, points=8)

# Operator, shape, dtype, model of points, and which forms on grid_sample take part.
AttentionPlan = Iterator[tuple[str, Shape, torch.dtype, str, tuple[str, ...]]]


def rows(device: str, peers: Peers, full: bool, points: Path | None = None) -> Iterator[Row]:
    """All rows of a run on 'cuda', or the small ones of a rehearsal on 'cpu'."""
    small = device == 'cpu'
    plan = list(small_plan() if small else full_plan() if full else default_plan())
    first = 0 if small else 2 * len(DTYPES)
    for entry in plan[:first]:
        yield attention_row(*entry, device=device, peers=peers)
    if points is not None:
        yield from captured_rows(points, device, peers)
    yield from other_rows(device, peers, small)
    for entry in plan[first:]:
        yield attention_row(*entry, device=device, peers=peers)


def default_plan() -> AttentionPlan:
    """What differs, once: ``grid_sample`` is slow and takes part in a few rows, ``torch.compile`` in two."""
    given, fused = ATTENTION
    compiling = {(given, torch.float32), (fused, torch.bfloat16)}
    for dtype in DTYPES:
        for operator in ATTENTION:
            yield operator, ENCODER, dtype, SPREAD, COMPILED if (operator, dtype) in compiling else EAGER
    for pattern in PATTERNS[1:]:
        for dtype in TWO_DTYPES:
            yield given, ENCODER, dtype, pattern, EAGER if pattern == 'anywhere' else ()
    for dtype in TWO_DTYPES:
        yield fused, ENCODER, dtype, 'anywhere', ()
    for shape in (*ENCODERS, *DECODERS, *WIDTHS, POINTS):
        for dtype in TWO_DTYPES if shape in (*ENCODERS, *DECODERS) else TWO_DTYPES[:1]:
            yield given, shape, dtype, SPREAD, EAGER if shape in (DOTA, *DECODERS) else ()
    for shape in (*ENCODERS, *DECODERS):
        for dtype in TWO_DTYPES if shape in (DOTA, *DECODERS) else TWO_DTYPES[:1]:
            yield fused, shape, dtype, SPREAD, EAGER if shape in DECODERS else ()


def full_plan() -> AttentionPlan:
    """The default, then all that it left out."""
    seen = set()
    for entry in default_plan():
        seen.add(entry[:4])
        yield entry
    for operator in ATTENTION:
        for shape in (ENCODER, *ENCODERS, *DECODERS, *WIDTHS, POINTS):
            for dtype in DTYPES:
                for pattern in PATTERNS:
                    if (operator, shape, dtype, pattern) not in seen:
                        yield operator, shape, dtype, pattern, EAGER


def small_plan() -> AttentionPlan:
    """One small encoder and one small decoder with every dtype and model of points, in turns."""
    encoder, decoder = Shape('small encoder', SMALL, None, 2), Shape('small decoder, 30 queries', SMALL, 30, 1)
    for operator in ATTENTION:
        for index, pattern in enumerate(PATTERNS):
            yield operator, encoder, DTYPES[index % 3], pattern, EAGER if index else COMPILED
        yield operator, decoder, torch.float32, SPREAD, EAGER


ATTENTION: dict[str, Callable[..., Case]] = {
    'ms_deform_attn': attention.given_case,
    'ms_deform_attn_fused': attention.fused_case,
}


def attention_row(
    operator: str,
    shape: Shape,
    dtype: torch.dtype,
    pattern: str,
    forms: tuple[str, ...],
    device: str,
    peers: Peers,
) -> Row:
    """A row of drawn points."""

    def build() -> Case:
        problem = attention.make_problem(draw(shape, pattern, device), dtype, shape.channels)
        return ATTENTION[operator](problem, peers, forms)

    return Row(operator, shape.text, dtype, pattern, build)


def captured_rows(path: Path, device: str, peers: Peers) -> Iterator[Row]:
    """Rows of the points in a file, with 256 random channels in all."""
    queries, source = load(path, device)
    images, count, heads = queries.logits.shape[:3]
    text = f'{count} queries, N = {images}, {heads} heads of {256 // heads}'

    def build(operator: str, queries: Queries, dtype: torch.dtype) -> Case:
        return ATTENTION[operator](attention.make_problem(queries, dtype, 256 // heads), peers, EAGER)

    for operator in ATTENTION:
        for dtype in TWO_DTYPES:
            yield Row(operator, text, dtype, f'captured: {source}', partial(build, operator, queries, dtype))


def other_rows(device: str, peers: Peers, small: bool) -> Iterator[Row]:
    """The other operators."""
    images, channels, size = (1, 16, 12) if small else (8, 256, 64)
    for dtype in (torch.float32, torch.float16):
        build: Callable[[], Case] = partial(
            dense.convolution_case, images, channels, size, dtype, device=device, peers=peers
        )
        yield Row('deform_conv2d', f'{images} x {channels} x {size} x {size}', dtype, 'kernel + 2 px', build)
    for channels, size in ((4, 16),) if small else ((64, 256), (3, 1024)):
        for dtype in (torch.float32, torch.bfloat16):
            with_compiled = channels != 3 and dtype == torch.float32
            for name, case in (('warp_sample', dense.warp_case), ('remap', dense.remap_case)):
                build = partial(case, 8, channels, size, dtype, device, with_compiled)
                yield Row(name, f'8 x {channels} x {size} x {size}', dtype, '', build)
    count, many = (100, 200) if small else (10_000, 20_000)
    build = partial(boxes.overlap_case, count, device=device, peers=peers)
    yield Row('box_iou_rotated', f'{count} x {count}', torch.float32, '', build, ('forward',))
    build = partial(boxes.suppression_case, many, device=device, peers=peers)
    yield Row('nms_rotated', f'{many} boxes', torch.float32, '', build, ('forward',))
    count, channels, size = (8, 8, 20) if small else (512, 256, 200)
    for dtype in (torch.float32, torch.float16):
        build = partial(boxes.roi_case, count, channels, size, dtype, device=device, peers=peers)
        yield Row('roi_align_rotated', f'{count} RoIs, {channels} channels', dtype, '', build)
