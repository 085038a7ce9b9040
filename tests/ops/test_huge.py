"""Tensors of more than 2^31 elements: nothing is counted in 32 bits.

Zeros that nobody touches take no memory, so the tests that read a few places of a large tensor cost nothing. Those
that write one need up to 13 GB and run where STN_DET_HUGE is set. So many boxes are more than the suppression operators
can be given on such a machine: of these soft_nms counts in 32 bits, and so do all on a GPU; they refuse.
"""

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from stn_det.ops import (
    _library,
    box_iou_quadri,
    box_iou_rotated,
    ms_deform_attn,
    ms_deform_attn_fused,
    quadri_iou,
    remap,
    roi_align,
    roi_align_rotated,
    sigmoid_focal_loss,
    warp_sample,
)

pytestmark = pytest.mark.usefixtures('compiled')

LIMIT = 2**31
writes_gigabytes = pytest.mark.skipif(
    'STN_DET_HUGE' not in os.environ, reason='needs 13 GB of memory; set STN_DET_HUGE=1 to run it'
)


def untouched(*shape: int) -> Tensor:
    """Bfloat16 zeros that take memory where they are written."""
    assert np.prod(shape) > LIMIT
    return torch.from_numpy(np.zeros(shape, np.int16)).view(torch.bfloat16)


def attention_inputs() -> tuple[Tensor, ...]:
    """One level whose last pixel is 1 to 8 in its first channels, and a point on its centre."""
    height, width, heads, channels = 1024, 1025, 64, 32
    value = untouched(1, height * width, heads, channels)
    value[0, -1, -1, :8] = torch.arange(1, 9).bfloat16()
    return value, torch.tensor([[height, width]]), torch.tensor([0])


def test_attention_reads_the_last_pixel() -> None:
    value, shapes, start = attention_inputs()
    size = shapes.flip(1).float()
    locations = ((size - 0.5) / size).view(1, 1, 1, 1, 1, 2).expand(1, 1, 64, 1, 1, 2)
    weights = torch.ones(1, 1, 64, 1, 1)
    expected = torch.zeros(64 * 32)
    expected[-32:-24] = torch.arange(1, 9)
    torch.testing.assert_close(
        ms_deform_attn(value, shapes, start, locations, weights)[0, 0].float(), expected, atol=0.01, rtol=0
    )
    fused = ms_deform_attn_fused(
        value, shapes, start, locations[:, :, 0, :, 0], torch.zeros_like(locations), torch.zeros(1, 1, 64, 1)
    )
    torch.testing.assert_close(fused[0, 0].float(), expected, atol=0.01, rtol=0)


@writes_gigabytes
def test_attention_adds_to_the_last_pixel() -> None:
    value, shapes, start = attention_inputs()
    size = shapes.flip(1).float()
    locations = ((size - 0.5) / size).view(1, 1, 1, 1, 1, 2).expand(1, 1, 64, 1, 1, 2)
    grad_output = torch.arange(64.0 * 32).view(1, 1, -1)
    grad_value, _, grad_weights = torch.ops.stn_det.ms_deform_attn_backward(
        grad_output, value, shapes, start, locations, torch.ones(1, 1, 64, 1, 1)
    )
    torch.testing.assert_close(grad_value[0, -1].flatten(), grad_output[0, 0], atol=1, rtol=0)
    assert not grad_value[0, :-2048].any()
    expected = (grad_output[0, 0, -32:-24] * torch.arange(1, 9)).sum()
    torch.testing.assert_close(grad_weights[0, 0, -1, 0, 0], expected, atol=0, rtol=1e-3)


def test_deform_im2col_reads_the_last_pixel() -> None:
    """Float32, 8.6 GB of addresses: the sampling itself, because the function around it reorders the map."""
    maps = torch.from_numpy(np.zeros((1, 2048, 2048, 520), np.float32))
    assert maps.numel() > LIMIT
    maps[0, -1, -1] = torch.arange(520.0)
    columns = torch.ops.stn_det.deform_im2col(
        maps, torch.zeros(1, 2, 2, 2), None, [1, 1], [2047, 2047], [0, 0], [1, 1], 1, 1, 0, 4
    )
    assert torch.equal(columns.view(4, 520)[3], torch.arange(520.0))
    assert not columns.view(4, 520)[:3].any()


@pytest.mark.parametrize('mode', ['nearest', 'bilinear', 'bicubic'])
def test_warp_sample_reads_the_last_pixels(mode) -> None:
    image = untouched(1, 1, 2**15 + 1, 2**16)
    corner = torch.arange(36.0).view(6, 6)
    image[0, 0, -6:, -6:] = corner.bfloat16()
    shift = torch.tensor([[[1, 0, 2**16 - 4], [0, 1, 2**15 + 1 - 4]]], dtype=torch.float64)
    found = warp_sample(image, shift, 4, mode=mode, padding_mode='border')
    assert torch.equal(found[0, 0].float(), corner[2:, 2:])


@pytest.mark.parametrize('mode', ['nearest', 'bilinear', 'bicubic'])
def test_remap_reads_the_last_pixels_at_the_last_points(mode) -> None:
    """Points a gigabyte apart in memory; the gradient to them is read from there too."""
    image = untouched(1, 1, 2**15 + 1, 2**16)
    corner = torch.arange(1.0, 5.0).view(2, 2)
    image[0, 0, -2:, -2:] = corner.bfloat16()
    memory = torch.from_numpy(np.zeros(2**31 + 2**30 + 2, np.float32))
    points = memory.as_strided((1, 2, 2, 2), (0, 2**31, 2**30, 1))
    points[0, :, :, 0] = 2**16 - 1.5 + torch.arange(2.0)
    points[0, :, :, 1] = 2**15 + 1 - 1.5 + torch.arange(2.0)[:, None]
    assert torch.equal(remap(image, points, mode, 'border')[0, 0].float(), corner)
    grad = torch.ones(1, 1, 2, 2).bfloat16()
    _, slopes = torch.ops.stn_det.remap_backward(grad, image, points.sub_(0.25), 0, 1, False, False, True)
    torch.testing.assert_close(slopes[0, 1, 1], torch.tensor([1.0, 2.0]), atol=1e-5, rtol=0)


def test_roi_align_reads_the_last_pixels() -> None:
    maps = untouched(1, 2048, 2048, 520).permute(0, 3, 1, 2)
    maps[0, :, -4:, -4:] = torch.arange(520).bfloat16()[:, None, None]
    expected = torch.arange(520).bfloat16()[:, None, None].expand(520, 2, 2)
    box = torch.tensor([[0, 2045.0, 2045, 2047, 2047]])
    assert torch.equal(roi_align(maps, box, 2, sampling_ratio=2)[0], expected)
    turned = torch.tensor([[0, 2046.0, 2046, 2, 2, 0.3]])
    assert torch.equal(roi_align_rotated(maps, turned, 2, 1.0, sampling_ratio=2)[0], expected)


def test_soft_nms_counts_boxes_before_it_copies_them() -> None:
    boxes, scores = torch.zeros(1, 4).expand(LIMIT, 4), torch.zeros(1).expand(LIMIT)
    with pytest.raises(RuntimeError, match='boxes has 2147483648 rows, expected fewer than'):
        torch.ops.stn_det.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, 0, 0)


@pytest.mark.skipif(bool(_library.instruction_set()), reason='the CPU counts boxes in 64 bits')
@pytest.mark.parametrize(('name', 'numbers'), [('nms', 4), ('nms_rotated', 5), ('nms_quadri', 8)])
def test_nms_on_a_gpu_counts_boxes_before_it_copies_them(name, numbers) -> None:
    boxes, order = torch.zeros(1, numbers).expand(2**30, numbers), torch.zeros(1, dtype=torch.long).expand(2**30)
    with pytest.raises(RuntimeError, match='boxes has 1073741824 rows, expected fewer than'):
        getattr(torch.ops.stn_det, name)(boxes, order, order, 0.3)


@writes_gigabytes
@pytest.mark.parametrize('operator', [box_iou_rotated, box_iou_quadri, quadri_iou])
def test_matrix_of_more_pairs_than_2_to_the_31(operator) -> None:
    count = 46400
    centre = 16 * torch.arange(count)[:, None]
    boxes = centre * torch.tensor([1.0, 0, 0, 0, 0]) + torch.tensor([0.0, 0, 4, 4, 0])
    quads = centre * torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0]) + torch.tensor([-2.0, -2, 2, -2, 2, 2, -2, 2])
    found = operator(quads if operator is quadri_iou else boxes, boxes if operator is box_iou_rotated else quads)
    assert found.numel() > LIMIT
    torch.testing.assert_close(found.diagonal(), torch.ones(count), atol=1e-2, rtol=0)
    assert found.count_nonzero() == count


@writes_gigabytes
@pytest.mark.parametrize('columns', [5, 8])
def test_pairs_of_more_than_2_to_the_31_numbers(columns) -> None:
    """The operators themselves, because the functions around them clean their arguments in copies."""
    count = LIMIT // 5 + 1
    boxes = torch.from_numpy(np.zeros((count, 5), np.float32))
    boxes[-1] = torch.tensor([3.0, 4, 2, 2, 0])
    if columns == 5:
        overlap = torch.ops.stn_det.rotated_iou_giou(boxes, boxes)[0]
    else:
        quads = torch.from_numpy(np.zeros((count, 8), np.float32))
        quads[-1] = torch.tensor([2.0, 3, 4, 3, 4, 5, 2, 5])
        overlap = torch.ops.stn_det.box_iou_quadri(boxes, quads, True, False)
    torch.testing.assert_close(overlap[-1].item(), 1.0, atol=1e-5, rtol=0)
    assert not overlap[:-1].any()


@writes_gigabytes
@pytest.mark.parametrize('rotated', [False, True])
def test_roi_align_adds_to_the_last_pixels(rotated) -> None:
    """Float32: the gradient takes 8.7 GB."""
    options = (2, 2, 1.0, 2, True)
    if rotated:
        box, options = torch.tensor([[0, 2046.0, 2046, 2, 2, 0.0]]), (*options, True)
        run = torch.ops.stn_det.roi_align_rotated_backward
    else:
        box, run = torch.tensor([[0, 2045.0, 2045, 2047, 2047]]), torch.ops.stn_det.roi_align_backward
    grad_output = torch.arange(520.0).view(1, 520, 1, 1).expand(1, 520, 2, 2).contiguous()
    grad = run(grad_output, box, 1, 2048, 2048, *options)
    assert grad.numel() > LIMIT
    torch.testing.assert_close(grad[0, :, -5:, -5:].sum((1, 2)), 4 * torch.arange(520.0), atol=0.01, rtol=1e-5)
    grad[0, :, -5:, -5:] = 0
    assert not grad.any()


@writes_gigabytes
def test_focal_loss_of_more_terms_than_2_to_the_31() -> None:
    logits, classes = untouched(2**22, 520), 520
    target = torch.full((2**22,), classes)
    target[-1] = classes - 1
    total = sigmoid_focal_loss(logits, target, reduction='sum')
    background = 0.75 * 0.25 * np.log(2)
    expected = background * (logits.numel() - 1) + background / 3
    torch.testing.assert_close(total.item(), expected, atol=0, rtol=4e-3)  # a bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_attention_reads_the_last_position_on_a_gpu() -> None:
    """A value of more than 2^31 numbers."""
    if torch.cuda.mem_get_info()[0] < 30 << 30:
        pytest.skip('needs 30 GB of free memory')
    positions = (1 << 31) // 256 + 100
    value = torch.zeros(1, positions, 8, 32, device='cuda', dtype=torch.bfloat16)
    value[:, -1] = 1
    shapes = torch.tensor([[positions, 1]], device='cuda')
    places = torch.tensor([0.5, (positions - 0.5) / positions], device='cuda').expand(1, 5, 8, 1, 1, 2)
    output = ms_deform_attn(value, shapes, shapes.new_zeros(1), places, torch.ones(1, 5, 8, 1, 1, device='cuda'))
    assert output.abs().max() > 0  # float32 places the point within a pixel of the last
