"""Every contender computes the same, whatever form its operands take; peers are played by stand-ins of their forms."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from ops.attention import grid_sample_attention
from ops.on_cuda import boxes, dense, timing
from ops.on_cuda.attention import EAGER, SIXTEEN_BITS, fused_case, given_case, make_problem
from ops.on_cuda.case import Case, Row
from ops.on_cuda.measuring import Bench, DeviceLost, measure
from ops.on_cuda.peers import _PEERS, Peer, find_peers, reason
from ops.on_cuda.points import Shape, draw
from ops.on_cuda.roofs import Roofs
from ops.on_cuda.timing import BatchFailed, Cpu, Times, batches, quartiles, take_turns
from torch import Tensor

from stn_det import ops

SIZES = ((8, 10), (4, 5))
SHAPE = Shape('decoder', SIZES, 9, 2, heads=4, channels=8)
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 3e-2}


def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Attention in float32, given back in the dtype of the value."""
    return grid_sample_attention(value.float(), SIZES, locations.float(), weights.float()).to(value.dtype)


def classic(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, step: int) -> Tensor:
    """The form of mmcv's and Deformable DETR's functions."""
    return attend(value, locations, weights)


def packed(value: Tensor, shapes: Tensor, starts: Tensor, both: Tensor, step: int, points: int) -> Tensor:
    """That of DCNv4's: locations and logits side by side."""
    assert both.dtype == value.dtype
    levels = len(shapes)
    locations, logits = both.split([2 * levels * points, levels * points], -1)
    weights = logits.softmax(-1).unflatten(-1, (levels, points))
    return attend(value, locations.unflatten(-1, (levels, points, 2)), weights)


def deformops(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, method: str) -> Tensor:
    """That of deformops'."""
    assert weights.dtype == value.dtype
    flat = weights.flatten(3)
    flat = flat.softmax(-1) if method == 'softmax' else flat
    return attend(value, locations, flat.unflatten(-1, locations.shape[3:5]))


def triton(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor, padding: str, corners: bool) -> Tensor:
    """That of msda-triton's."""
    assert (padding, corners) == ('zeros', False)
    return attend(value, locations, weights).unflatten(-1, value.shape[2:])


def convolution(x: Tensor, o: Tensor, w: Tensor, bias: None, stride: int, pad: int, dilation: int, m: Tensor) -> Tensor:
    """That of torchvision's."""
    return ops.deform_conv2d(x, o, w, bias, stride, pad, dilation, m)


STAND_INS: dict[str, Callable] = {
    'mmcv': classic,
    'Deformable DETR': classic,
    'DCNv4': packed,
    'deformops CUDA': deformops,
    'deformops Triton': deformops,
    SIXTEEN_BITS: deformops,
    'msda-triton': triton,
    'torchvision, deform_conv2d': convolution,
    'mmcv, modulated_deform_conv2d': lambda x, o, m, w, b, stride, pad: convolution(x, o, w, b, stride, pad, 1, m),
    'deformops, deform_conv2d': convolution,
    'mmcv, box_iou_rotated': ops.box_iou_rotated,
    'mmcv, nms_rotated': lambda b, s, threshold: (None, ops.nms_rotated(b, s, threshold)),
    'mmcv, roi_align_rotated': lambda x, r, *rest: ops.roi_align_rotated(x, r, *rest),
    'torchvision, roi_align': ops.roi_align,
}
PEERS = {name: Peer(call, 'a stand-in') for name, call in STAND_INS.items()}
NOBODY = {name: Peer(None, 'absent') for name in STAND_INS}


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few measurements, for the times do not matter."""
    monkeypatch.setattr(timing, 'BUDGET_US', 0)


def records_of(case: Case, which: str = 'forward', bench: Bench | None = None) -> dict[str, dict]:
    """Records of one pass by implementation."""
    row = Row('operator', 'shape', torch.float32, '', lambda: case)
    bench = bench or Bench(Cpu(), 1, Roofs())
    return {record['implementation']: record for record in measure(row, case, case.exact(), which, bench, set())}


def errors_of(case: Case, which: str) -> dict[str, float | str | None]:
    """Errors of all contenders of one pass, or how they failed."""
    return {name: record.get('failed', record.get('error')) for name, record in records_of(case, which).items()}


def test_every_peer_has_a_stand_in() -> None:
    assert set(STAND_INS) == set(_PEERS)


@pytest.mark.usefixtures('_hurried')
@pytest.mark.parametrize('make', [given_case, fused_case])
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('which', ['forward', 'backward', 'both'])
def test_attention(make: Callable[..., Case], dtype: torch.dtype, which: str) -> None:
    case = make(make_problem(draw(SHAPE, 'init + 2 px', 'cpu'), dtype, SHAPE.channels), PEERS, EAGER)
    errors = errors_of(case, which)
    in_16_bits = dtype != torch.float32
    # Locations in 16 bits are hundredths of a pixel off, and their gradients on the wrong side of some line.
    rough = {'mmcv', 'Deformable DETR', 'DCNv4'} if in_16_bits and make is given_case else {'DCNv4'}
    assert set(errors) >= {'stn_det', 'grid_sample', *(set(STAND_INS) & set(errors))}
    assert (SIXTEEN_BITS in errors) == in_16_bits
    assert {name for name in STAND_INS if ',' not in name} - set(errors) <= {SIXTEEN_BITS}
    for name, error in errors.items():
        if not (in_16_bits and name in rough):
            assert error <= TOLERANCE[dtype], f'{name}: {error}'


@pytest.mark.usefixtures('_hurried')
def test_attention_compiled() -> None:
    case = fused_case(make_problem(draw(SHAPE, 'init', 'cpu'), torch.float32, 8), NOBODY, ('compiled',))
    assert errors_of(case, 'both')['grid_sample, torch.compile'] <= 3e-6


@pytest.mark.usefixtures('_hurried')
@pytest.mark.parametrize('which', ['forward', 'backward'])
def test_other_operators(which: str) -> None:
    cases = [
        dense.convolution_case(1, 8, 6, torch.float32, 'cpu', PEERS),
        dense.warp_case(2, 3, 9, torch.float32, 'cpu', False),
        dense.remap_case(2, 3, 9, torch.float32, 'cpu', False),
        boxes.roi_case(5, 4, 20, torch.float32, 'cpu', PEERS),
    ]
    if which == 'forward':
        cases += [boxes.overlap_case(30, 'cpu', PEERS), boxes.suppression_case(50, 'cpu', PEERS)]
    for case in cases:
        errors = errors_of(case, which)
        for contender in case.contenders:
            error = errors[contender.name]
            assert not isinstance(error, str), f'{contender.name}: {error}'
            assert (error is None) if contender.readout is None else (error <= 1e-5), contender.name


@pytest.mark.usefixtures('_hurried')
def test_an_error_is_seen() -> None:
    case = boxes.overlap_case(30, 'cpu', {**NOBODY, 'mmcv, box_iou_rotated': Peer(lambda a, b: a @ b.T, 'wrong')})
    errors = errors_of(case, 'forward')
    assert errors['mmcv'] > 1
    assert errors['stn_det'] < 1e-5
    nothing = {**NOBODY, 'mmcv, box_iou_rotated': Peer(lambda a, b: ops.box_iou_rotated(a, b) / 0, 'infinite')}
    assert errors_of(boxes.overlap_case(30, 'cpu', nothing), 'forward')['mmcv'] == 'not finite'


@pytest.mark.usefixtures('_hurried')
def test_a_contender_that_fails_has_a_record_that_says_how() -> None:
    def refuse(*operands: object) -> Tensor:
        raise RuntimeError('"op" not implemented for Half in /some/where/mmcv/op.cu:3')

    found = records_of(boxes.overlap_case(30, 'cpu', {**NOBODY, 'mmcv, box_iou_rotated': Peer(refuse, 'broken')}))
    assert found['mmcv']['failed'] == 'RuntimeError: "op" not implemented for Half in op.cu:3'
    assert found['stn_det']['median_us'] > 0


class Breaking(Cpu):
    """A GPU that does not work any more after the first failure."""

    broken = False

    def wait(self) -> None:
        if self.broken:
            raise RuntimeError('CUDA error: an illegal memory access was encountered')


@pytest.mark.usefixtures('_hurried')
def test_a_contender_that_breaks_the_gpu_is_named_and_then_left_out() -> None:
    device = Breaking()

    def breaks(*operands: object) -> Tensor:
        device.broken = True
        raise RuntimeError('CUDA error: an illegal memory access was encountered')

    case = boxes.overlap_case(30, 'cpu', {**NOBODY, 'mmcv, box_iou_rotated': Peer(breaks, 'broken')})
    with pytest.raises(DeviceLost, match='left the GPU unusable: RuntimeError: CUDA error') as caught:
        records_of(case, bench=Bench(device, 1, Roofs()))
    assert [record['implementation'] for record in caught.value.records] == ['mmcv']
    row = Row('operator', 'shape', torch.float32, '', lambda: case)
    found = measure(row, case, case.exact(), 'forward', Bench(Cpu(), 1, Roofs()), {'mmcv'})
    assert [record.get('failed') for record in found if record['implementation'] == 'mmcv'] == [
        'left the GPU unusable in an earlier run'
    ]


def test_who_fails_while_it_is_measured_is_named() -> None:
    calls = iter(range(3))

    def late() -> None:
        if next(calls) == 2:
            raise RuntimeError('late')

    with pytest.raises(BatchFailed, match='late') as caught:
        take_turns({'fine': lambda: None, 'other': late}, 1, Cpu())
    assert caught.value.name == 'other'


@pytest.mark.parametrize(
    ('microseconds', 'plan'),
    [(10.0, (20, 5, 5)), (9000.0, (20, 5, 5)), (30_000.0, (6, 5, 5)), (100_000.0, (4, 2, 1)), (1e6, (1, 2, 1))],
)
def test_slow_calls_take_fewer_rounds(microseconds: float, plan: tuple[int, int, int]) -> None:
    assert batches(microseconds, 20) == plan


def test_quartiles() -> None:
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (1.5, 3.0, 4.5)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)
    assert quartiles([]) is None


def test_turns_are_taken() -> None:
    order: list[str] = []
    times, clock = take_turns({name: lambda name=name: order.append(name) for name in 'ab'}, 2, Cpu())
    assert ''.join(order) == 'aaabbb' + 2 * ('a' * 6 + 'b' * 6)
    assert {len(entry.warm) for entry in times.values()} == {10}
    assert clock is None
    assert replace(times['a'], warm=[]) == Times()


def test_missing_peers_are_named_with_the_reason() -> None:
    found = find_peers()
    assert set(found) == set(_PEERS)
    for peer in found.values():
        assert peer.found.startswith('absent: ') != peer.present


def test_reasons_are_short_and_name_no_folder() -> None:
    assert reason(ImportError('/x/y/_ext.so: undefined symbol: f\nmore')) == 'ImportError: _ext.so: undefined symbol: f'
    assert reason(RuntimeError()) == 'RuntimeError: '
