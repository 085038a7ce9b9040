"""RoIAlign, rotated and not, and the sigmoid focal loss, against mmcv's and torchvision's own."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ops.case import Case, backward_of
from stn_det.ops import roi_align, roi_align_rotated, sigmoid_focal_loss
from stn_det.ops.reference.roi_align import roi_align_reference
from stn_det.ops.reference.roi_align_rotated import roi_align_rotated_reference
from stn_det.ops.reference.sigmoid_focal_loss import sigmoid_focal_loss_reference

try:
    import mmcv.ops
except ImportError:
    mmcv = None
try:
    import torchvision.ops
except (ImportError, RuntimeError):
    torchvision = None

SIZE = 7
SCALE = 0.25
Functions = dict[str, Callable[..., Tensor]]


def roi_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """A map (1, 256, 200, 200) of stride 4 and 512 RoIs of 32 to 256 image pixels a side, rotated and upright."""
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 256, 200, 200, generator=generator)
    centre = 800 * torch.rand(512, 2, generator=generator)
    size = 32 * torch.exp(math.log(8) * torch.rand(512, 2, generator=generator))
    theta = math.pi * (torch.rand(512, 1, generator=generator) - 0.5)
    index = torch.zeros(512, 1)
    rotated = torch.cat([index, centre, size, theta], 1)
    return feature, rotated, torch.cat([index, centre - size / 2, centre + size / 2], 1)


def rotated_functions(ratio: int) -> Functions:
    """Functions of map and rotated RoIs; all but mmcv's can send a gradient to the RoIs."""
    functions: Functions = {
        'stn_det': lambda x, r: roi_align_rotated(x, r, SIZE, SCALE, ratio, True, True),
        'stn_det, plain PyTorch': lambda x, r: roi_align_rotated_reference(
            x, r, (SIZE, SIZE), SCALE, ratio, True, True
        ),
    }
    if mmcv is not None:
        functions['mmcv'] = lambda x, r: mmcv.ops.roi_align_rotated(x, r, (SIZE, SIZE), SCALE, ratio, True, True)
    return _peers_before_plain(functions)


def upright_functions(ratio: int) -> Functions:
    """Functions of map and axis-aligned RoIs."""
    functions: Functions = {
        'stn_det': lambda x, r: roi_align(x, r, SIZE, SCALE, ratio),
        'stn_det, plain PyTorch': lambda x, r: roi_align_reference(x, r, (SIZE, SIZE), SCALE, ratio, True, 'avg'),
    }
    if mmcv is not None:
        functions['mmcv'] = lambda x, r: mmcv.ops.roi_align(x, r, (SIZE, SIZE), SCALE, ratio, 'avg', True)
    if torchvision is not None:
        functions['torchvision'] = lambda x, r: torchvision.ops.roi_align(x, r, SIZE, SCALE, ratio or -1, True)
    return _peers_before_plain(functions)


def focal_functions(target: Tensor) -> Functions:
    """Mean losses of logits (M, C). mmcv has no compiled one for the CPU."""
    one_hot = torch.nn.functional.one_hot(target, 81)[:, :80].float()
    functions: Functions = {
        'stn_det': lambda x: sigmoid_focal_loss(x, target),
        'stn_det, plain PyTorch': lambda x: sigmoid_focal_loss_reference(x, target, 2.0, 0.25, None).sum() / len(x),
    }
    if torchvision is not None:
        functions['torchvision'] = lambda x: torchvision.ops.sigmoid_focal_loss(x, one_hot, reduction='sum') / len(x)
    return _peers_before_plain(functions)


def _peers_before_plain(functions: Functions) -> Functions:
    plain = 'stn_det, plain PyTorch'
    return {**{name: function for name, function in functions.items() if name != plain}, plain: functions[plain]}


def _check(name: str, functions: Functions, arguments: list[Tensor], tolerance: float) -> None:
    """Raise unless all implementations give the same."""
    results = {key: function(*arguments) for key, function in functions.items()}
    for key, result in results.items():
        error = (result - results['stn_det']).abs().max().item()
        if error > tolerance:
            raise RuntimeError(f'stn_det and {key} disagree by {error} on {name}')


def _full_step(function: Callable[..., Tensor], leaf: Tensor) -> None:
    leaf.grad = None
    function(leaf).backward()


def cases() -> Iterator[Case]:
    """512 RoIs of 7 x 7 bins, with 2 x 2 points a bin and with one a pixel; 20000 x 80 logits."""
    feature, rotated, upright = roi_inputs()
    for ratio in (2, 0):
        for operator, functions, rois in (
            ('roi_align_rotated', rotated_functions(ratio), rotated),
            ('roi_align', upright_functions(ratio), upright),
        ):
            shape = f'512 RoIs of 1 x 256 x 200 x 200, sampling_ratio {ratio}'
            with torch.no_grad():
                _check(operator, functions, [feature, rois], 1e-3)
            yield Case(operator, shape, 'forward', {k: partial(f, feature, rois) for k, f in functions.items()})
            fixed = {key: lambda x, f=function, r=rois: f(x, r) for key, function in functions.items()}
            yield Case(operator, shape, 'backward', {k: backward_of(f, [feature]) for k, f in fixed.items()})
            if operator == 'roi_align_rotated':
                both = {key: function for key, function in functions.items() if key != 'mmcv'}
                runs = {key: backward_of(function, [feature, rois]) for key, function in both.items()}
                yield Case(operator, f'{shape}, with the gradient to the RoIs', 'backward', runs)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20000, 80, generator=generator) - 4
    target = torch.where(torch.rand(20000, generator=generator) < 0.05, torch.arange(20000) % 80, 80)
    losses = focal_functions(target)
    _check('sigmoid_focal_loss', losses, [logits], 1e-5)
    yield Case('sigmoid_focal_loss', '20000 x 80', 'forward', {k: partial(f, logits) for k, f in losses.items()})
    leaf = logits.requires_grad_()
    steps = {key: partial(_full_step, function, leaf) for key, function in losses.items()}
    yield Case('sigmoid_focal_loss', '20000 x 80, forward and backward', 'backward', steps)
