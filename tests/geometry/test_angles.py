"""Angle ranges and canonical forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stn_det.errors import InputError
from stn_det.geometry import FORMS, canonicalize_rboxes, normalize_angle

PI = math.pi
RANGES = {'le90': (-PI / 2, PI / 2), 'le135': (-PI / 4, 3 * PI / 4), 'pi': (0.0, PI), 'full': (-PI, PI)}
EIGHTHS = st.integers(-16, 16).map(lambda k: k * PI / 4)
ANGLES = st.one_of(EIGHTHS, st.floats(-20, 20), st.sampled_from([1e-9, -1e-9, 1e-30, -0.0]))
SIZES = st.one_of(st.sampled_from([0.0, 1.0, 30.0]), st.floats(0.01, 500))
BOXES = st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000), SIZES, SIZES, ANGLES)
DTYPES = st.sampled_from([torch.float32, torch.float64])


@given(ANGLES, st.floats(-7, 7), st.sampled_from([PI / 2, PI, 2 * PI]), DTYPES)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_normalize_angle_range_direction_and_idempotence(theta, start, period, dtype):
    angle = torch.tensor(theta, dtype=dtype)
    result = normalize_angle(angle, start, period)
    first = torch.tensor(start, dtype=dtype)
    assert first <= result < first + period
    turns = (result.double() - angle.double()) / period
    assert abs(turns - turns.round()) < (1e-5 if dtype == torch.float32 else 1e-12)
    assert torch.equal(normalize_angle(result, start, period), result)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_normalize_angle_ends(dtype):
    ends = torch.tensor([-PI / 2, PI / 2, 3 * PI / 2, 0.0], dtype=dtype)
    start = torch.tensor(-PI / 2, dtype=dtype)
    assert torch.equal(normalize_angle(ends), torch.stack([start, start, start, ends[3]]))


def test_normalize_angle_keeps_gradients_shape_and_nan():
    theta = torch.tensor([[4.0, -9.0, 0.3, float('nan')]], requires_grad=True)
    result = normalize_angle(theta)
    assert result.shape == theta.shape
    assert result[0, 3].isnan()
    result[0, :3].sum().backward()
    assert theta.grad[0, :3].tolist() == [1, 1, 1]


def test_normalize_angle_half_precision_computes_in_float32():
    theta = torch.tensor([100.0], dtype=torch.float16)
    result = normalize_angle(theta)
    assert result.dtype == torch.float16
    expected = (100.0 + PI / 2) % PI - PI / 2
    assert abs(result.item() - expected) < 1e-3


def test_normalize_angle_rejects_period():
    with pytest.raises(InputError, match=r'period must be greater than 0 radians, got -1'):
        normalize_angle(torch.zeros(1), period=-1)


@given(BOXES, st.sampled_from(FORMS), DTYPES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_forms_keep_the_rectangle_and_their_ranges(box_distance, box, form, dtype):
    boxes = torch.tensor([box], dtype=dtype)
    result = canonicalize_rboxes(boxes, form)
    assert torch.equal(canonicalize_rboxes(result, form), result), 'idempotent'
    tolerance = 1e-9 if dtype == torch.float64 else 3e-3  # float32: 2000 px times its 1.2e-7, and 500 px times 20 rad
    assert box_distance(result.double(), boxes.double()) < tolerance
    w, h, theta = result[0, 2:]
    if form == 'oc':
        assert 0 < theta <= torch.tensor(PI / 2, dtype=dtype)
    else:
        start, end = (torch.tensor(value, dtype=dtype) for value in RANGES[form])
        assert start <= theta < end
    if form == 'full':
        assert torch.equal(result[0, :4], boxes[0, :4])
    elif form != 'oc':
        assert w >= h


@given(BOXES, st.sampled_from(FORMS[:-1]), st.sampled_from(FORMS[:-1]))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_forms_convert_into_one_another(box_distance, box, first, second):
    boxes = torch.tensor([box], dtype=torch.float64)
    direct = canonicalize_rboxes(boxes, second)
    through = canonicalize_rboxes(canonicalize_rboxes(boxes, first), second)
    assert box_distance(direct, through) < 1e-9


@pytest.mark.parametrize('form', ['le90', 'le135', 'pi', 'oc'])
def test_the_four_descriptions_of_a_rectangle_become_one(form):
    w, h, theta = 30.0, 10.0, 0.4
    four = [(5, 6, w, h, theta), (5, 6, w, h, theta + PI), (5, 6, h, w, theta + PI / 2), (5, 6, h, w, theta - PI / 2)]
    result = canonicalize_rboxes(torch.tensor(four, dtype=torch.float64), form)
    assert torch.allclose(result, result[:1].expand(4, 5), atol=1e-12)


@pytest.mark.parametrize(
    ('form', 'expected'), [('le90', 0.2), ('le135', 0.2), ('pi', 0.2), ('oc', 0.2), ('full', 0.2 + PI / 2)]
)
def test_a_square_has_one_angle(form, expected):
    square = torch.tensor([[5.0, 6.0, 8.0, 8.0, 0.2 + PI / 2]], dtype=torch.float64)
    assert torch.allclose(canonicalize_rboxes(square, form)[0, 4], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ('form', 'expected'),
    [
        ('le90', (20, 10, -PI / 2)),
        ('le135', (20, 10, PI / 2)),
        ('pi', (20, 10, PI / 2)),
        ('oc', (20, 10, PI / 2)),
        ('full', (10, 20, 0)),
    ],
)
def test_known_values_of_a_tall_box(form, expected):
    tall = torch.tensor([[0.0, 0.0, 10.0, 20.0, 0.0]])
    assert torch.allclose(canonicalize_rboxes(tall, form)[0, 2:], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize('shape', [(0, 5), (5,), (2, 3, 5)])
def test_canonicalize_keeps_leading_dimensions(shape):
    assert canonicalize_rboxes(torch.ones(shape)).shape == shape


def test_canonicalize_is_differentiable(rboxes):
    for form in FORMS:
        boxes = rboxes[:6].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda b, form=form: canonicalize_rboxes(b, form), (boxes,))


def test_canonicalize_errors():
    with pytest.raises(InputError, match=r"form must be one of oc, le90, le135, pi, full, got 'le180'"):
        canonicalize_rboxes(torch.zeros(1, 5), 'le180')
    with pytest.raises(InputError, match=r'rboxes must have shape \(\.\.\., 5\), got \(2, 4\)'):
        canonicalize_rboxes(torch.zeros(2, 4))
    with pytest.raises(InputError, match=r'rboxes must be a torch.Tensor of shape \(\.\.\., 5\), got list'):
        canonicalize_rboxes([[0, 0, 1, 1, 0]])
