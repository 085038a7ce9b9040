"""Overlaps of rotated boxes and non-maximum suppression against compiled mmcv and torchvision, where installed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ops.case import Case, Run, backward_of
from stn_det import ops
from stn_det.ops.reference.box_iou_rotated import box_iou_rotated_reference
from stn_det.ops.reference.nms import nms_reference
from stn_det.ops.reference.nms_rotated import nms_rotated_reference
from stn_det.ops.reference.rotated_iou_giou import rotated_iou_giou_reference
from stn_det.ops.reference.soft_nms import soft_nms_reference

Functions = dict[str, Callable[..., Any]]

# The clip of mmcv loses nearly parallel edges, so that some pairs are off, and some boxes in a thousand are kept.
TOLERATED = 1e-4


def random_boxes(count: int, seed: int = 0) -> Tensor:
    """Boxes (count, 5) of 8 to 64 pixels on an image of 1024 x 1024, in any direction."""
    part = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed))
    scale = torch.tensor([1024, 1024, 56, 56, 2 * torch.pi])
    return part * scale + torch.tensor([0, 0, 8, 8, -torch.pi])


def jittered(boxes: Tensor) -> Tensor:
    """The boxes moved by some pixels and tenths of a radian, as predictions are from targets."""
    noise = torch.randn(boxes.shape, generator=torch.Generator().manual_seed(9))
    moved = boxes + noise * torch.tensor([4, 4, 4, 4, 0.2])
    return torch.cat([moved[:, :2], moved[:, 2:4].clamp(min=2), moved[:, 4:]], 1)


def _mmcv(name: str) -> Functions:
    try:
        function = getattr(__import__('mmcv.ops', fromlist=[name]), name)
    except (ImportError, AttributeError):
        return {}
    return {'mmcv': function}


def _torchvision() -> Functions:
    try:
        from torchvision.ops import nms
    except ImportError:
        return {}
    return {'torchvision': nms}


def _agree(name: str, results: dict[str, Tensor], share: float = 0.0) -> None:
    """Raise when more than ``share`` of the numbers of an implementation differ from ours."""
    ours, *others = results
    for other in others:
        first, second = results[ours].double(), results[other].double()
        off = 1.0 if first.shape != second.shape else ((first - second).abs() > TOLERATED).double().mean().item()
        if off > share:
            raise RuntimeError(f'{other} differs from ours in {off:.2%} of the numbers on {name}')


def _case(operator: str, shape: str, runs: dict[str, Run], share: float = 0.0, slow: tuple[str, ...] = ()) -> Case:
    results = {name: run() for name, run in runs.items()}
    if not results['stn_det'].is_floating_point():  # indices of kept boxes; two more or fewer shift all others
        results = {name: torch.zeros(10000).index_fill_(0, kept, 1) for name, kept in results.items()}
    _agree(f'{operator}, {shape}', results, share)
    return Case(operator, shape, 'forward', runs, slow)


def overlap_cases() -> Iterator[Case]:
    """Matrix, pairs, and the generalised IoU; mmcv has no differentiable IoU on the CPU."""
    peers = _mmcv('box_iou_rotated')
    first, second = random_boxes(2000), random_boxes(2000, seed=1)
    runs: dict[str, Run] = {'stn_det': partial(ops.box_iou_rotated, first, second)}
    runs |= {name: partial(function, first, second) for name, function in peers.items()}
    runs['stn_det, plain PyTorch'] = partial(box_iou_rotated_reference, first, second, False, 'iou')
    yield _case('box_iou_rotated', '2000 x 2000 on 1024 px', runs, share=1e-5, slow=('mmcv',))

    first = random_boxes(20000)
    second = jittered(first)
    runs = {'stn_det': partial(ops.box_iou_rotated, first, second, aligned=True)}
    runs |= {name: partial(function, first, second, aligned=True) for name, function in peers.items()}
    runs['stn_det, plain PyTorch'] = partial(box_iou_rotated_reference, first, second, True, 'iou')
    yield _case('box_iou_rotated', '20000 pairs', runs, share=1e-3)

    leaves = [second[:5000], first[:5000]]
    functions: Functions = {
        'stn_det': lambda a, b: 1 - ops.rotated_iou_giou(a, b)[1],
        'stn_det, plain PyTorch': lambda a, b: 1 - rotated_iou_giou_reference(a, b)[1],
    }
    _agree('rotated_iou_giou', {name: function(*leaves) for name, function in functions.items()})
    runs = {name: partial(function, *leaves) for name, function in functions.items()}
    yield Case('rotated_iou_giou', '5000 pairs', 'forward', runs)
    yield Case('rotated_iou_giou', '5000 pairs', 'backward', {k: backward_of(f, leaves) for k, f in functions.items()})


def suppression_cases() -> Iterator[Case]:
    """Rotated, axis-aligned and soft suppression of random boxes."""
    boxes = random_boxes(10000)
    scores = torch.rand(10000, generator=torch.Generator().manual_seed(2))
    for threshold in (0.1, 0.5):
        runs: dict[str, Run] = {'stn_det': partial(ops.nms_rotated, boxes, scores, threshold)}
        # At a threshold of 0.5 mmcv takes 40 s.
        for name, function in _mmcv('nms_rotated').items() if threshold < 0.5 else ():
            runs[name] = partial(_second, function, boxes, scores, threshold)
        runs['stn_det, plain PyTorch'] = partial(nms_rotated_reference, boxes, scores, threshold, None)
        yield _case('nms_rotated', f'10000 on 1024 px, threshold {threshold}', runs, share=1e-3, slow=('mmcv',))

    upright = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
    runs = {'stn_det': partial(ops.nms, upright, scores, 0.5)}
    for name, function in _mmcv('nms').items():
        runs[name] = partial(_second, function, upright, scores, 0.5)
    runs |= {name: partial(function, upright, scores, 0.5) for name, function in _torchvision().items()}
    runs['stn_det, plain PyTorch'] = partial(nms_reference, upright, scores, 0.5, None)
    yield _case('nms', '10000 on 1024 px, threshold 0.5', runs)

    upright, scores = upright[:2000], scores[:2000]
    for method in ('linear', 'gaussian'):
        runs = {'stn_det': partial(_second, ops.soft_nms, upright, scores, 0.3, 0.5, 1e-3, method)}
        for name, function in _mmcv('soft_nms').items():
            runs[name] = partial(_second, function, upright, scores, 0.3, 0.5, 1e-3, method)
        plain = partial(soft_nms_reference, upright, scores, 0.3, 0.5, 1e-3, method, 0)
        runs['stn_det, plain numpy'] = partial(_first, plain)
        yield _case('soft_nms', f'2000 on 1024 px, {method}', runs)


def _first(function: Callable[..., tuple[Tensor, ...]]) -> Tensor:
    return function()[0]


def _second(function: Callable[..., tuple[Tensor, ...]], *arguments: Any) -> Tensor:
    """Indices, which follow the detections."""
    return function(*arguments)[1]


def cases() -> Iterator[Case]:
    """All of the family."""
    yield from overlap_cases()
    yield from suppression_cases()
