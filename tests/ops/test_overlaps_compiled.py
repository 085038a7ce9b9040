"""The compiled overlaps: against the plain ones in float64, and as citizens of torch.compile and torch.export."""

import contextlib
import functools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stn_det.ops import _library, box_iou_quadri, box_iou_rotated, quadri_iou, rotated_iou_giou
from stn_det.ops.quadri_iou import clean_hulls
from stn_det.ops.reference.box_iou_quadri import box_iou_quadri_reference
from stn_det.ops.reference.box_iou_rotated import box_iou_rotated_reference
from stn_det.ops.reference.quadri_iou import quadri_iou_reference
from stn_det.ops.reference.rotated_iou_giou import rotated_iou_giou_reference

pytestmark = pytest.mark.usefixtures('compiled')

PUBLIC = {'box_iou_rotated': box_iou_rotated, 'box_iou_quadri': box_iou_quadri, 'quadri_iou': quadri_iou}


def hull_reference(quads1, quads2, aligned, mode):
    return quadri_iou_reference(clean_hulls(quads1), clean_hulls(quads2), aligned, mode)


REFERENCE = {
    'box_iou_rotated': box_iou_rotated_reference,
    'box_iou_quadri': box_iou_quadri_reference,
    'quadri_iou': hull_reference,
}


@contextlib.contextmanager
def plain_pytorch() -> Iterator[None]:
    """Runs the operators in plain PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_library, '_on_cpu', frozenset())
        yield


def rboxes(count: int, seed: int, extent: float = 60.0) -> torch.Tensor:
    """Boxes (count, 5) of 2 to 30 pixels, far from slivers, so that gradients have a bound."""
    part = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = torch.tensor([extent, extent, 28, 28, 2 * math.pi], dtype=torch.float64)
    return part * scale + torch.tensor([0, 0, 2, 2, -math.pi], dtype=torch.float64)


def quads(count: int, seed: int) -> torch.Tensor:
    """Simple quads (count, 8) around points, by rising angle."""
    generator = torch.Generator().manual_seed(seed)
    part = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    angle = (torch.arange(4) + 0.2 + 0.6 * part) * (math.pi / 2)
    radius = 5 + 15 * torch.rand(count, 4, generator=generator, dtype=torch.float64)
    centre = 60 * torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
    return (centre + torch.stack([radius * angle.cos(), radius * angle.sin()], -1)).reshape(count, 8)


def inputs(name: str, first: int = 37, second: int = 29, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    one = quads(first, 1) if name == 'quadri_iou' else rboxes(first, 1)
    two = rboxes(second, 2) if name == 'box_iou_rotated' else quads(second, 2)
    return one.to(dtype), two.to(dtype)


@pytest.fixture(params=PUBLIC)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the three operators."""
    return request.param


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def assert_no_worse(found, plain, exact) -> None:
    """Errors against float64 at most twice those of the plain form in the same dtype, plus an ulp of the largest."""
    for one, other, wanted in zip(found, plain, exact, strict=True):
        assert one.dtype == other.dtype
        ulp = torch.finfo(one.dtype).eps * max(1.0, wanted.abs().max().item())
        assert (one - wanted).abs().max() <= 2 * (other - wanted).abs().max() + 2 * ulp


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('dtype', DTYPES)
def test_agrees_with_the_reference_in_float64(checks, name, mode, aligned, dtype) -> None:
    arguments = inputs(name, 200, 200 if aligned else 150, dtype)
    found = checks.gradients(functools.partial(PUBLIC[name], aligned=aligned, mode=mode), arguments)
    assert (found[0] > 0).double().mean() > 0.1
    with plain_pytorch():
        plain = checks.gradients(functools.partial(PUBLIC[name], aligned=aligned, mode=mode), arguments)
    reference = functools.partial(REFERENCE[name], aligned=aligned, mode=mode)
    exact = checks.gradients(reference, [part.double() for part in arguments])
    if dtype == torch.float64:
        for one, other in zip(found, exact):
            torch.testing.assert_close(one, other, atol=1e-13, rtol=1e-12)
    else:
        assert_no_worse(found, plain, exact)


@pytest.mark.parametrize(('first', 'second'), [(1, 1), (3, 8), (9, 4), (17, 33)])
def test_counts_that_fill_no_vector(checks, name, first, second) -> None:
    arguments = inputs(name, first, second)
    found = checks.gradients(PUBLIC[name], arguments)
    wanted = checks.gradients(functools.partial(REFERENCE[name], aligned=False, mode='iou'), arguments)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize(('first', 'second'), [(70, 140), (1100, 3), (2, 1100), (130, 9)])
def test_more_than_one_tile_of_the_matrix(checks, name, first, second) -> None:
    """Also long and narrow ones, whose gradients are summed in parts; sums are the same each time."""
    arguments = inputs(name, first, second)
    found = checks.gradients(PUBLIC[name], arguments)
    wanted = checks.gradients(functools.partial(REFERENCE[name], aligned=False, mode='iou'), arguments)
    for one, other, again in zip(found, wanted, checks.gradients(PUBLIC[name], arguments)):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-11)
        assert torch.equal(one, again)


def test_matrix_of_boxes_that_all_overlap(checks, name) -> None:
    """Hardly a pair is rejected by its bounds."""
    one, two = inputs(name, 66, 131)
    one[:, :2], two[:, :2] = one[:, :2] * 0.01, two[:, :2] * 0.01
    if name != 'box_iou_rotated':
        two = two - two.reshape(-1, 4, 2).mean(1).repeat(1, 4)
        one = one if name == 'box_iou_quadri' else one - one.reshape(-1, 4, 2).mean(1).repeat(1, 4)
    found = checks.gradients(PUBLIC[name], (one, two))
    assert (found[0] > 0).double().mean() > 0.99
    wanted = checks.gradients(functools.partial(REFERENCE[name], aligned=False, mode='iou'), (one, two))
    for part, other in zip(found, wanted):
        torch.testing.assert_close(part, other, atol=1e-12, rtol=1e-11)


def test_matrix_and_rows_have_the_same_bits(name) -> None:
    one, two = inputs(name, 90, 90, torch.float32)
    run = PUBLIC[name]
    assert torch.equal(run(one, two).diagonal(), run(one, two, aligned=True))


def test_nan_gradients_reach_the_shapes_that_they_belong_to(checks, name) -> None:
    grad = torch.zeros(37, 29, dtype=torch.float64)
    grad[5] = math.nan
    output, grad1, grad2 = checks.gradients(PUBLIC[name], inputs(name), grad)
    assert output[5].any()
    assert grad1.isnan().any(1).nonzero().tolist() == [[5]]
    assert torch.equal(grad2.isnan().any(1) | (output[5] == 0), torch.ones(29, dtype=torch.bool))


def test_same_gradient_where_boxes_are_equal_or_touch(checks) -> None:
    """The derivative of equal, touching and contained boxes is one of many; it is the one of the plain form."""
    pairs = [
        ((5, 5, 4, 2, 0), (5, 5, 4, 2, 0)),
        ((0, 0, 4, 2, 0), (0, 2, 4, 2, 0)),
        ((0, 0, 2, 2, 0), (2, 2, 2, 2, 0)),
        ((0, 0, 4, 2, 0), (1, 0, 4, 2, 0)),
        ((0, 0, 8, 8, 0), (1, 0, 2, 2, 0)),
        ((0, 0, 2, 2, 0), (1, 0, 8, 8, 0)),
    ]
    first, second = (torch.tensor([pair[k] for pair in pairs], dtype=torch.float64) for k in range(2))
    found = checks.gradients(functools.partial(box_iou_rotated, aligned=True), (first, second))
    reference = functools.partial(box_iou_rotated_reference, aligned=True, mode='iou')
    for one, other in zip(found, checks.gradients(reference, (first, second))):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_angles_of_any_size() -> None:
    """Beyond the range in which a quarter turn can be taken off exactly, and at its ends."""
    angles = [0.0, math.pi / 4, -math.pi / 4, math.pi, 100.0, 8191.9, 8192.1, -1e5, 1048577.0, 1e9, -3e15]
    for dtype, tolerance in ((torch.float64, 1e-14), (torch.float32, 2e-6)):
        first = torch.tensor([[50, 40, 30, 11, 0]] * len(angles), dtype=dtype)
        second = first + 1
        second[:, 4] = torch.tensor(angles, dtype=dtype)
        wanted = box_iou_rotated_reference(first.double(), second.double(), True, 'iou')
        torch.testing.assert_close(
            box_iou_rotated(first, second, aligned=True).double(), wanted, atol=tolerance, rtol=0
        )


def test_matrix_backward_of_a_few_entries(checks) -> None:
    """Entries without a gradient are skipped, others are not."""
    arguments = inputs('box_iou_rotated', 50, 60)
    grad = torch.zeros(50, 60, dtype=torch.float64)
    grad[::7, ::3] = 1
    wanted = checks.gradients(functools.partial(box_iou_rotated_reference, aligned=False, mode='iou'), arguments, grad)
    for one, other in zip(checks.gradients(box_iou_rotated, arguments, grad), wanted):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e200])
def test_wild_numbers_overlap_nothing_and_have_no_gradient(checks, name, bad) -> None:
    first, second = inputs(name)
    first[3] = second[3] = second[5] = bad
    first[4, 2] = bad
    for aligned in (False, True):
        pair = (first, second) if not aligned else (first[:29], second)
        output, grad1, grad2 = checks.gradients(functools.partial(PUBLIC[name], aligned=aligned), pair)
        assert not output[3].any()
        assert output.isfinite().all()
        assert not grad1[3:5].any()
        assert not grad2[3].any()
        assert not grad2[5].any()


@pytest.mark.parametrize(('first', 'second', 'aligned'), [(0, 3, False), (3, 0, False), (0, 0, False), (0, 0, True)])
def test_empty(checks, name, first, second, aligned) -> None:
    arguments = inputs(name, first, second)
    output, grad1, grad2 = checks.gradients(functools.partial(PUBLIC[name], aligned=aligned), arguments)
    assert output.shape == ((0,) if aligned else (first, second))
    assert (grad1.shape, grad2.shape) == (arguments[0].shape, arguments[1].shape)
    assert not grad1.any()
    assert not grad2.any()


def test_any_layout_of_the_arguments(checks, name) -> None:
    arguments = inputs(name)
    turned = [part.t().contiguous().t() for part in arguments]
    expanded = torch.ones((), dtype=torch.float64).expand(37, 29)
    for one, other in zip(
        checks.gradients(PUBLIC[name], turned, expanded), checks.gradients(PUBLIC[name], arguments, expanded)
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit(checks, name, aligned) -> None:
    arguments = inputs(name, 6000, 6000, torch.float32) if aligned else inputs(name, 300, 200, torch.float32)
    checks.same_for_any_number_of_threads(
        lambda: checks.gradients(functools.partial(PUBLIC[name], aligned=aligned), arguments)
    )


def test_wrong_shapes_are_refused_below_the_python_checks() -> None:
    run = torch.ops.stn_det.box_iou_rotated
    with pytest.raises(RuntimeError, match=r'second has to be of shape \(count, 5\)'):
        run(torch.zeros(2, 5), torch.zeros(2, 4), False, False)
    with pytest.raises(RuntimeError, match='there are 2 first and 3 second shapes'):
        run(torch.zeros(2, 5), torch.zeros(3, 5), True, False)
    with pytest.raises(RuntimeError, match='dtype of the first'):
        run(torch.zeros(2, 5), torch.zeros(2, 5).double(), False, False)
    with pytest.raises(RuntimeError, match='grad_output does not have the shape of the output'):
        torch.ops.stn_det.box_iou_rotated_backward(
            torch.zeros(2, 2), torch.zeros(2, 5), torch.zeros(3, 5), False, False
        )


@pytest.mark.parametrize('aligned', [False, True])
def test_opcheck(name, aligned) -> None:
    first, second = inputs(name, 12, 12)
    run, backward = (getattr(torch.ops.stn_det, f'{name}{part}').default for part in ('', '_backward'))
    torch.library.opcheck(run, (first.requires_grad_(), second.requires_grad_(), aligned, False))
    grad = torch.rand(12, dtype=torch.float64) if aligned else torch.rand(12, 12, dtype=torch.float64)
    torch.library.opcheck(backward, (grad, first.detach(), second.detach(), aligned, True))


def test_compiles_whole_forward_and_backward(checks, name) -> None:
    arguments = inputs(name, dtype=torch.float32)
    whole = torch.compile(PUBLIC[name], fullgraph=True, backend='aot_eager')
    for one, other in zip(checks.gradients(whole, arguments), checks.gradients(PUBLIC[name], arguments)):
        assert torch.equal(one, other)


def test_exports(checks, name) -> None:
    checks.exports(PUBLIC[name], inputs(name, dtype=torch.float32), name)


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, name, tmp_path) -> None:
    arguments = inputs(name, dtype=torch.float32)
    found = checks.portable(name, arguments, tmp_path)
    torch.testing.assert_close(found, PUBLIC[name](*arguments), atol=1e-5, rtol=0)


# --- GIoU -----------------------------------------------------------------------------------------------------------


def both(function):
    """IoU and GIoU as one tensor, so that each has a gradient of its own."""
    return lambda *boxes: torch.stack(function(*boxes))


@pytest.mark.parametrize('dtype', DTYPES)
def test_giou_agrees_with_the_reference_in_float64(checks, dtype) -> None:
    arguments = [part.to(dtype) for part in (rboxes(500, 1, 40), rboxes(500, 2, 40))]
    found = checks.gradients(both(rotated_iou_giou), arguments)
    with plain_pytorch():
        plain = checks.gradients(both(rotated_iou_giou), arguments)
    exact = checks.gradients(both(rotated_iou_giou_reference), [part.double() for part in arguments])
    if dtype == torch.float64:
        for one, other in zip(found, exact):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    else:
        assert_no_worse(found, plain, exact)


def test_giou_gradient_without_area_and_with_negative_sides(checks) -> None:
    first = torch.tensor([[0, 0, 0, 2, 0.1], [0, 0, -1, 2, 0.1], [3, 1, 0, 0, 0]], dtype=torch.float64)
    second = torch.tensor([[4, 1, 4, 2, 0.3]] * 3, dtype=torch.float64)
    found = checks.gradients(both(rotated_iou_giou), (first, second))
    wanted = checks.gradients(both(rotated_iou_giou_reference), (first, second))
    # Where two corners coincide the hull has a kink in the width; any slope between those of its two sides will do.
    assert found[1][0, 2] * wanted[1][0, 2] > 0
    found[1][0, 2] = wanted[1][0, 2]
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_giou_wild_numbers(checks) -> None:
    first, second = rboxes(20, 1), rboxes(20, 2)
    first[1, 0], first[2, 4], second[3, 2], second[4, 3] = math.nan, math.inf, math.nan, 1e200
    output, grad1, grad2 = checks.gradients(both(rotated_iou_giou), (first, second))
    assert output[:, 1:5].tolist() == [[0] * 4, [-1] * 4]
    assert not grad1[1:5].any()
    assert not grad2[1:5].any()
    assert grad1.isfinite().all()


def test_giou_empty_threads_and_layout(checks) -> None:
    assert [part.shape for part in checks.gradients(both(rotated_iou_giou), (rboxes(0, 1), rboxes(0, 2)))] == [
        (2, 0),
        (0, 5),
        (0, 5),
    ]
    arguments = (rboxes(4000, 1).float(), rboxes(4000, 2).float())
    checks.same_for_any_number_of_threads(lambda: checks.gradients(both(rotated_iou_giou), arguments))
    turned = [part.t().contiguous().t() for part in arguments]
    assert torch.equal(both(rotated_iou_giou)(*turned), both(rotated_iou_giou)(*arguments))


def test_giou_opcheck_compile_and_export(checks) -> None:
    arguments = (rboxes(21, 1).requires_grad_(), rboxes(21, 2).requires_grad_())
    torch.library.opcheck(torch.ops.stn_det.rotated_iou_giou.default, arguments)
    plain = [part.detach() for part in arguments]
    grads = torch.rand(2, 21, dtype=torch.float64).unbind()
    torch.library.opcheck(torch.ops.stn_det.rotated_iou_giou_backward.default, (*grads, *plain))
    whole = torch.compile(both(rotated_iou_giou), fullgraph=True, backend='aot_eager')
    for one, other in zip(checks.gradients(whole, plain), checks.gradients(both(rotated_iou_giou), plain)):
        assert torch.equal(one, other)
    checks.exports(rotated_iou_giou, plain, 'rotated_iou_giou')


# --- properties in float32 ------------------------------------------------------------------------------------------

BOX = st.tuples(
    st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 80), st.floats(1, 80), st.floats(-math.pi, math.pi)
)


@given(BOX, BOX, st.floats(-500, 500), st.floats(-500, 500), st.floats(-7, 7))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_float32_is_invariant_under_a_common_rigid_motion(first, second, dx, dy, turn) -> None:
    """Coordinates to 640 px carry errors of 2^-15 px; on boxes of 1 px or more that is 3e-5 of a side, a few times."""

    def moved(box):
        cx, cy, w, h, theta = box
        cos, sin = math.cos(turn), math.sin(turn)
        return torch.tensor([[cos * cx - sin * cy + dx, sin * cx + cos * cy + dy, w, h, theta + turn]])

    still = box_iou_rotated(torch.tensor([first]), torch.tensor([second])).item()
    assert box_iou_rotated(moved(first), moved(second)).item() == pytest.approx(still, abs=3e-4)


@given(st.lists(BOX, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_float32_matrix_is_symmetric_in_range_and_one_on_the_diagonal(rows) -> None:
    boxes = torch.tensor(rows)
    matrix = box_iou_rotated(boxes, boxes)
    assert matrix.min() >= 0
    assert matrix.max() <= 1
    torch.testing.assert_close(matrix.diagonal(), torch.ones(len(rows)), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix, matrix.t(), atol=1e-4, rtol=0)
