"""Rotated IoU: known values, public bug reports, oracles, properties, gradients."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stn_det.errors import InputError
from stn_det.ops import box_iou_rotated
from stn_det.ops import box_iou_rotated as iou

pytestmark = pytest.mark.usefixtures('implementation')


def row(*values: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor([values], dtype=dtype)


def degrees(cx: float, cy: float, w: float, h: float, angle: float) -> torch.Tensor:
    return row(cx, cy, w, h, math.radians(angle))


# --- known values ---------------------------------------------------------------------------------------------------


def test_two_unit_squares_shifted_by_half() -> None:
    assert iou(row(0, 0, 1, 1, 0), row(0.5, 0, 1, 1, 0)).item() == pytest.approx(1 / 3, abs=1e-6)


def test_square_turned_by_45_degrees_leaves_an_octagon() -> None:
    octagon = 2 * (math.sqrt(2) - 1)
    assert iou(row(5, 5, 1, 1, 0), degrees(5, 5, 1, 1, 45)).item() == pytest.approx(octagon / (2 - octagon), abs=1e-6)


def test_cross_of_two_bars() -> None:
    assert iou(row(3, 4, 10, 2, 0.3), row(3, 4, 10, 2, 0.3 + math.pi / 2)).item() == pytest.approx(4 / 36, abs=1e-6)


def test_positive_theta_turns_clockwise_on_screen() -> None:
    bar = degrees(0, 0, 10, 1, 45)  # runs from top left to bottom right, y down
    assert iou(bar, row(3, 3, 1, 1, 0)).item() > 0
    assert iou(bar, row(3, -3, 1, 1, 0)).item() == 0


def test_iof_divides_by_the_first_area() -> None:
    small, large = row(0, 0, 2, 2, 0.4), row(0.1, 0, 8, 8, -0.2)
    assert iou(small, large, mode='iof').item() == pytest.approx(1, abs=1e-6)
    assert iou(large, small, mode='iof').item() == pytest.approx(4 / 64, abs=1e-6)


@pytest.mark.parametrize('angle', [0.0, 0.1, 1.0, -1.3])
def test_contained_box(angle: float) -> None:
    assert iou(row(50, 60, 40, 30, 0.7), row(51, 59, 10, 5, angle)).item() == pytest.approx(50 / 1200, rel=1e-5)


@pytest.mark.parametrize('angle', [0.0, 0.3, math.pi / 4, 1.2])
def test_touching_boxes_do_not_overlap(angle: float) -> None:
    shift = 10 * math.cos(angle), 10 * math.sin(angle)
    assert iou(row(0, 0, 10, 4, angle), row(*shift, 10, 4, angle)).item() == pytest.approx(0, abs=1e-6)


def test_boxes_that_do_not_meet_share_exactly_nothing(oracle) -> None:
    first, second = oracle.random_rboxes(4000, extent=150), oracle.random_rboxes(4000, seed=1, extent=150)
    exact = iou(first, second, aligned=True)
    apart = exact == 0
    assert apart.sum() > 2000
    assert iou(first.float(), second.float(), aligned=True)[apart].max() < 1e-5  # rounding the inputs moves the boxes
    assert exact[~apart].min() > 1e-9


# --- public bug reports ---------------------------------------------------------------------------------------------


def test_detectron2_2154_nearly_identical() -> None:
    first = degrees(296.6620178222656, 458.73883056640625, 23.515729904174805, 47.677001953125, 0.08795166015625)
    second = degrees(296.66201, 458.73882, 23.51573, 47.67702, 0.087951)
    assert iou(first, second).item() == pytest.approx(1, abs=1e-5)


def test_detectron2_2167_nearly_identical_large() -> None:
    first = degrees(2563.74462890625, 1436.7901611328125, 2174.703369140625, 214.09500122070312, 115.11834716796875)
    second = degrees(2563.74462890625, 1436.790283203125, 2174.702880859375, 214.09495544433594, 115.11835479736328)
    assert iou(first, second).item() == pytest.approx(1, abs=1e-5)


def test_detectron2_4961_is_right_as_reported() -> None:
    first = degrees(1010.5, 860.00012207, 12.20655537, 48.82622528, -55.00798035)
    second = degrees(1022, 870.49993896, 10.81665134, 43.26660919, -56.30992889)
    assert iou(first, second).item() == pytest.approx(0.3688, abs=1e-4)


def test_mmcv_2621_identical() -> None:
    box = row(0.0, 0.0, 180.6422271729, 136.3633728027, 0.9559648633)
    assert iou(box, box).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('length', [1.9711e3, 1.9711e10])
def test_mmcv_2952_sliver(length: float) -> None:
    sliver = row(1.3507e02, 4.0672e02, 7.9445e-7, length, 1.7708)
    value = iou(sliver, row(151.0080, 436.2173, 302.0159, 313.7347, 3.1184)).item()
    assert 0 <= value < 1e-6


def test_rotated_maskrcnn_46_identical() -> None:
    box = row(672.4067, 290.7776, 791.0275, 38.9333, 34.1454)
    assert iou(box, box).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ('angle', 'width', 'expected'), [(1, 125, 0.8), (4, 120, 0.8333333), (0, 200, 0.5), (89.9, 101, 100 / 101)]
)
def test_same_centre_height_and_angle(angle: float, width: float, expected: float) -> None:
    assert iou(degrees(200, 300, 100, 40, angle), degrees(200, 300, width, 40, angle)).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_width_only_family_is_exact_everywhere() -> None:
    angles = torch.arange(0, 180, 1.0).deg2rad()
    widths = torch.tensor([100.001, 101, 105, 110, 120, 125, 150, 200])
    angle, width = (grid.flatten() for grid in torch.meshgrid(angles, widths, indexing='ij'))
    base = torch.tensor([[200.0, 300.0, 100.0, 40.0, 0.0]]).repeat(len(angle), 1)
    base[:, 4] = angle
    other = base.clone()
    other[:, 2] = width
    torch.testing.assert_close(iou(base, other, aligned=True), 100 / width, atol=1e-6, rtol=0)


def test_identical_boxes_are_one_in_float32(oracle) -> None:
    boxes = oracle.random_rboxes(5000, extent=20000, size=500).float()
    values = iou(boxes, boxes, aligned=True)
    assert (values - 1).abs().max() <= 1e-6


def test_nearly_identical_boxes_match_float64(oracle) -> None:
    boxes = oracle.random_rboxes(4000, extent=1024, size=400).float()
    noise = torch.randn(4000, 5) * torch.tensor([1e-4, 1e-4, 1e-4, 1e-4, 1e-6])
    other = boxes + noise
    exact = iou(boxes.double(), other.double(), aligned=True)
    assert (iou(boxes, other, aligned=True) - exact).abs().max() < 5e-6


# --- oracles --------------------------------------------------------------------------------------------------------


def test_matches_a_plain_polygon_clip(oracle) -> None:
    first, second = oracle.random_rboxes(300), oracle.random_rboxes(300, seed=1)
    expected = [
        oracle.polygon_iou(oracle.rbox_corners(p), oracle.rbox_corners(q))
        for p, q in zip(first.tolist(), second.tolist())
    ]
    assert sum(value > 0 for value in expected) > 60
    values = iou(first, second, aligned=True)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_matches_shapely(oracle) -> None:
    shapely = pytest.importorskip('shapely')
    first, second = oracle.random_rboxes(4000), oracle.random_rboxes(4000, seed=1)
    second[:1000] = first[:1000] + 1e-6 * torch.randn(1000, 5, dtype=torch.float64)
    second[1000:2000, 4] = first[1000:2000, 4]
    second[1500:2000, 2:4] = first[1500:2000, 2:4]
    p, q = (shapely.polygons([oracle.rbox_corners(box) for box in boxes.tolist()]) for boxes in (first, second))
    shared = shapely.area(shapely.intersection(p, q))
    expected = torch.from_numpy(shared / (shapely.area(p) + shapely.area(q) - shared))
    torch.testing.assert_close(iou(first, second, aligned=True), expected, atol=1e-10, rtol=0)


def test_matrix_is_the_aligned_value_of_every_pair(oracle, monkeypatch) -> None:
    monkeypatch.setattr('stn_det.ops._pairs.PAIRS_PER_TEST', 100)
    monkeypatch.setattr('stn_det.ops._pairs.PAIRS_PER_CLIP', 7)
    first, second = oracle.random_rboxes(30, extent=200), oracle.random_rboxes(23, seed=1, extent=200)
    matrix = iou(first, second)
    aligned = iou(first.repeat_interleave(23, 0), second.repeat(30, 1), aligned=True).view(30, 23)
    assert matrix.shape == (30, 23)
    assert 0.02 < (matrix > 0).double().mean() < 0.9
    torch.testing.assert_close(matrix, aligned, atol=1e-14, rtol=0)


# --- properties -----------------------------------------------------------------------------------------------------

BOX = st.tuples(
    st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 80), st.floats(0.01, 80), st.floats(-math.pi, math.pi)
)


@given(BOX, BOX)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_symmetric_and_in_range(first, second) -> None:
    forth = iou(row(*first), row(*second)).item()
    back = iou(row(*second), row(*first)).item()
    assert 0 <= forth <= 1
    assert forth == pytest.approx(back, abs=2e-5)


@given(BOX, BOX, st.floats(-500, 500), st.floats(-500, 500), st.floats(-7, 7))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_invariant_under_a_common_rigid_motion(first, second, dx, dy, turn) -> None:
    def moved(box):
        cx, cy, w, h, theta = box
        cos, sin = math.cos(turn), math.sin(turn)
        return row(cos * cx - sin * cy + dx, sin * cx + cos * cy + dy, w, h, theta + turn, dtype=torch.float64)

    still = iou(row(*first, dtype=torch.float64), row(*second, dtype=torch.float64)).item()
    assert iou(moved(first), moved(second)).item() == pytest.approx(still, abs=1e-9)


@given(BOX)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_box_is_itself_under_its_other_names(box) -> None:
    cx, cy, w, h, theta = box
    first = row(*box, dtype=torch.float64)
    for other in ((cx, cy, w, h, theta + math.pi), (cx, cy, h, w, theta + math.pi / 2)):
        assert iou(first, row(*other, dtype=torch.float64)).item() == pytest.approx(1, abs=1e-9)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', ['iou', 'iof'])
def test_gradcheck(oracle, mode: str) -> None:
    first = oracle.random_rboxes(10, extent=15).requires_grad_()
    second = oracle.random_rboxes(10, seed=1, extent=15).requires_grad_()
    assert (iou(first, second, aligned=True) > 0).sum() >= 8
    assert torch.autograd.gradcheck(lambda a, b: iou(a, b, aligned=True, mode=mode), (first, second))


def test_gradcheck_of_the_matrix(oracle) -> None:
    first = oracle.random_rboxes(3, extent=15).requires_grad_()
    second = oracle.random_rboxes(4, seed=1, extent=15).requires_grad_()
    assert torch.autograd.gradcheck(iou, (first, second))


DEGENERATE = {
    'identical': ((5, 5, 4, 2, 0.3), (5, 5, 4, 2, 0.3)),
    'identical_axis_aligned': ((5, 5, 4, 2, 0), (5, 5, 4, 2, 0)),
    'shared_edge': ((0, 0, 4, 2, 0), (0, 2, 4, 2, 0)),
    'shared_corner': ((0, 0, 2, 2, 0), (2, 2, 2, 2, 0)),
    'parallel_edges': ((0, 0, 4, 2, 0), (1, 0, 4, 2, 0)),
    'nearly_parallel': ((0, 0, 4, 2, 0), (0, 0, 4, 2, 1e-9)),
    'zero_width': ((0, 0, 0, 2, 0), (0, 0, 4, 2, 0)),
    'zero_size': ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    'negative_size': ((0, 0, -3, 2, 0), (0, 0, 4, 2, 0)),
    'nan': ((math.nan, 0, 3, 2, 0), (0, 0, 4, 2, 0)),
    'infinite': ((0, 0, math.inf, 2, 0), (0, 0, 4, 2, 0)),
    'overflowing': ((0, 0, 1e30, 1e30, 0), (0, 0, 4, 2, 0)),
}


@pytest.mark.parametrize('name', DEGENERATE)
def test_degenerate_pairs_have_finite_gradients(name: str) -> None:
    first, second = (row(*box).requires_grad_() for box in DEGENERATE[name])
    value = iou(first, second, aligned=True)
    value.sum().backward()
    assert 0 <= value.item() <= 1
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()
    assert first.grad.abs().max() < 100


def test_ascent_on_the_iou_finds_the_target() -> None:
    target = row(50, 40, 30, 12, 0.5)
    box = row(54, 37, 24, 15, 0.2).requires_grad_()
    optimizer = torch.optim.Adam([box])
    for step in range(120):
        optimizer.param_groups[0]['lr'] = 0.3 * (1 - step / 120)
        optimizer.zero_grad()
        (-iou(box, target, aligned=True)).sum().backward()
        optimizer.step()
    assert iou(box, target).item() > 0.98


# --- edges ----------------------------------------------------------------------------------------------------------


def test_boxes_without_area_or_finite_numbers_overlap_nothing() -> None:
    nan, inf = math.nan, math.inf
    bad = torch.tensor([[5, 5, 0, 2, 0], [5, 5, 2, -1, 0], [nan, 5, 2, 2, 0], [5, 5, 2, 2, nan], [5, inf, 2, 2, 0]])
    boxes = torch.cat([row(5, 5, 2, 2, 0.1), bad])
    expected = torch.zeros(6, 6)
    expected[0, 0] = 1
    torch.testing.assert_close(iou(boxes, boxes), expected)
    assert iou(bad, boxes[:1].expand(5, 5), aligned=True).tolist() == [0] * 5


@pytest.mark.parametrize(('m', 'n'), [(0, 0), (0, 3), (3, 0)])
def test_empty(m: int, n: int) -> None:
    first = torch.zeros(m, 5, requires_grad=True)
    value = iou(first, torch.ones(n, 5))
    assert value.shape == (m, n)
    value.sum().backward()


def test_empty_aligned() -> None:
    assert iou(torch.zeros(0, 5), torch.zeros(0, 5), aligned=True).shape == (0,)


def test_non_contiguous(oracle) -> None:
    boxes = oracle.random_rboxes(40)
    wide = torch.zeros(40, 10, dtype=torch.float64)
    wide[:, ::2] = boxes
    torch.testing.assert_close(iou(wide[:, ::2], boxes.t().contiguous().t()), iou(boxes, boxes), atol=0, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_inputs_and_autocast_compute_in_float32(oracle, dtype: torch.dtype) -> None:
    first, second = oracle.random_rboxes(30).to(dtype), oracle.random_rboxes(30, seed=1).to(dtype)
    expected = iou(first.float(), second.float())
    assert torch.equal(iou(first, second), expected)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(iou(first.float(), second.float()), expected)
    assert iou(first, second).dtype == torch.float32


def test_mixed_dtypes_are_computed_in_the_wider_one(oracle) -> None:
    boxes = oracle.random_rboxes(3)
    assert iou(boxes, boxes.float()).dtype == torch.float64


def test_large_common_offset_costs_nothing() -> None:
    base = torch.tensor([[0, 0, 20, 10, 0.5], [3, 2, 18, 11, 0.25]], dtype=torch.float32)
    far = base + torch.tensor([16384.0, 32768.0, 0, 0, 0])
    torch.testing.assert_close(iou(far[:1], far[1:]), iou(base[:1], base[1:]), atol=1e-6, rtol=0)


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_name_the_argument_and_the_shape() -> None:
    good = torch.zeros(2, 5)
    with pytest.raises(InputError, match=r'boxes1 has shape \(2, 4\), expected \(M, 5\)'):
        box_iou_rotated(torch.zeros(2, 4), good)
    with pytest.raises(InputError, match=r'boxes2 has shape \(5,\), expected \(N, 5\)'):
        box_iou_rotated(good, torch.zeros(5))
    with pytest.raises(InputError, match=r'boxes1 must be a torch.Tensor, got list'):
        box_iou_rotated([[0, 0, 1, 1, 0]], good)
    with pytest.raises(InputError, match=r'boxes2 has dtype torch.int64, expected a floating-point dtype'):
        box_iou_rotated(good, torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(InputError, match='boxes1 has 2 rows and boxes2 has 3'):
        box_iou_rotated(good, torch.zeros(3, 5), aligned=True)
    with pytest.raises(InputError, match="mode is 'giou', expected one of 'iou', 'iof'"):
        box_iou_rotated(good, good, mode='giou')
    with pytest.raises(InputError, match='boxes1 on cpu, boxes2 on meta'):
        box_iou_rotated(good, good.to('meta'))
