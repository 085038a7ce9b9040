"""Deformable attention and CARAFE through mmcv's public wrappers."""

import mmcv.ops
import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch
from torch import Tensor
from torch.autograd import gradcheck

SHAPES = torch.tensor([[3, 4], [2, 2]])
STARTS = torch.tensor([0, 12])


def attention_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Values of two levels, locations partly outside the image, and weights."""
    value = torch.randn(2, 16, 2, 4, dtype=torch.float64, requires_grad=True)
    locations = (torch.rand(2, 5, 2, 2, 3, 2, dtype=torch.float64) * 1.4 - 0.2).requires_grad_()
    weights = torch.rand(2, 5, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    return value, locations, weights


def test_attention_is_that_of_grid_sample() -> None:
    value, locations, weights = attention_inputs()
    result = MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)
    expected = multi_scale_deformable_attn_pytorch(value, SHAPES, locations, weights)
    torch.testing.assert_close(result, expected)
    seed = torch.randn_like(result)
    grads = torch.autograd.grad(result, (value, locations, weights), seed)
    for grad, known in zip(grads, torch.autograd.grad(expected, (value, locations, weights), seed)):
        torch.testing.assert_close(grad, known)


def test_attention_takes_any_batch() -> None:
    """mmcv's kernels need a batch that im2col_step divides."""
    value, locations, weights = (tensor.repeat_interleave(3, 0)[:5] for tensor in attention_inputs())
    result = MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 2)
    assert result.shape == (5, 5, 8)


def test_attention_module_runs() -> None:
    layer = mmcv.ops.MultiScaleDeformableAttention(16, 2, 2, 3, batch_first=True, dropout=0.0)
    query, value = torch.randn(2, 5, 16), torch.randn(2, 16, 16)
    points = torch.rand(2, 5, 2, 2)
    result = layer(query, value=value, reference_points=points, spatial_shapes=SHAPES, level_start_index=STARTS)
    assert result.shape == query.shape
    result.sum().backward()
    assert layer.sampling_offsets.weight.grad is not None


def carafe_by_loops(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    n, c, h, w = features.shape
    output = features.new_zeros(n, c, h * scale, w * scale)
    for image, channel, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        first = (channel * groups // c) * kernel**2
        for i in range(kernel):
            for j in range(kernel):
                y, x = row // scale + i - kernel // 2, column // scale + j - kernel // 2
                if 0 <= y < h and 0 <= x < w:
                    weight = masks[image, first + i * kernel + j, row, column]
                    output[image, channel, row, column] += weight * features[image, channel, y, x]
    return output


@pytest.mark.parametrize('operator', [mmcv.ops.carafe, mmcv.ops.carafe_naive])
def test_carafe_forward(operator: type) -> None:
    features = torch.randn(2, 4, 3, 4)
    masks = torch.rand(2, 2 * 9, 6, 8)
    result = operator(features, masks, 3, 2, 2)
    torch.testing.assert_close(result, carafe_by_loops(features, masks, 3, 2, 2))


def test_carafe_gradients() -> None:
    features = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(1, 2 * 9, 4, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a, b: mmcv.ops.carafe(a, b, 3, 2, 2), (features, masks))


def test_carafe_pack_keeps_a_constant_map() -> None:
    """Its weights are normalised, so away from the border a constant stays the same."""
    layer = mmcv.ops.CARAFEPack(4, 2, up_kernel=3, compressed_channels=4)
    result = layer(torch.full((1, 4, 6, 6), 3.0))
    assert result.shape == (1, 4, 12, 12)
    torch.testing.assert_close(result[..., 2:-2, 2:-2], torch.full((1, 4, 8, 8), 3.0))
