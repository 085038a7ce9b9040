"""The sampling behind deformable convolution: every width of the channels that share offsets, and maps of 16 bits.

The convolution as a whole is tested in ``test_deform_conv2d_compiled.py``.
"""

import math

import pytest
import torch

from stn_det.ops import _library

pytestmark = pytest.mark.usefixtures('compiled')

# Channels, groups and groups of offsets: channels of a group that packs of 16 bytes cover, and such that they do not;
# more packs than lanes; and groups of either kind that cut the other's channels.
SEGMENTS = [(48, 1, 1), (20, 1, 2), (320, 1, 1), (64, 2, 4), (72, 3, 2), (33, 3, 1), (8, 8, 1), (6, 2, 6)]


def sampling(segments: tuple[int, int, int], dtype: torch.dtype) -> tuple:
    """Arguments that sample all output pixels but the first and the last; several blocks of a GPU have work.

    Maps have the dtype. All numbers have few bits, so that in every dtype they are the same.
    """
    channels, groups, shared = segments
    generator = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).bfloat16()

    x, offset, mask = random(2, 7, 9, channels), 2 * random(2, 12 * shared, 4, 8), random(2, 6 * shared, 4, 8)
    layer = [3, 2], [2, 1], [1, 0], [1, 1], groups, shared
    return x.to(dtype), offset.to(wide), mask.to(wide), *layer, 1, 63


def gradients_of(arguments: tuple, grad: torch.Tensor, **options: bool) -> list[torch.Tensor]:
    """Gradients of maps, offset and mask."""
    buffers = [torch.zeros_like(part, dtype=arguments[1].dtype) for part in arguments[:3]]
    torch.ops.stn_det.deform_im2col_backward(grad, *arguments, *buffers, **options)
    return buffers


@pytest.mark.skipif(bool(_library.instruction_set()), reason='the CPU samples float32 and float64')
@pytest.mark.parametrize('deterministic', [False, True])
@pytest.mark.parametrize('segments', SEGMENTS)
@pytest.mark.parametrize(('dtype', 'rounding'), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_sampling_of_maps_of_16_bits_rounds_once(dtype, rounding, segments, deterministic) -> None:
    """Sums and offsets are float32, whatever the maps are: only the columns are rounded."""
    narrow, exact = sampling(segments, dtype), sampling(segments, torch.float64)
    columns, wanted = (torch.ops.stn_det.deform_im2col(*arguments) for arguments in (narrow, exact))
    assert columns.dtype == dtype
    assert ((columns - wanted).abs() <= rounding * wanted.abs() + 1e-5).all()
    grad = torch.randn_like(columns)
    found = gradients_of(narrow, grad, deterministic=deterministic)
    for one, other in zip(found, gradients_of(exact, grad.double())):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize('segments', SEGMENTS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_maps_that_are_not_aligned_give_the_same(dtype, segments) -> None:
    """Tensors that begin anywhere in memory: packs of 16 bytes cannot read those."""
    arguments = sampling(segments, dtype)

    def shifted(part: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.new_zeros(1), part.flatten()])[1:].view(part.shape)

    columns = torch.ops.stn_det.deform_im2col(*arguments)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    moved = (*(shifted(part) for part in arguments[:3]), *arguments[3:])
    torch.testing.assert_close(torch.ops.stn_det.deform_im2col(*moved), columns, atol=tolerance, rtol=0)
    grad = columns.cos()
    for one, other in zip(gradients_of(moved, shifted(grad)), gradients_of(arguments, grad)):
        torch.testing.assert_close(one, other, atol=100 * tolerance, rtol=0)


@pytest.mark.parametrize('segments', SEGMENTS)
def test_deterministic_gradients_do_not_depend_on_the_order_of_threads(monkeypatch, segments) -> None:
    arguments, exact = sampling(segments, torch.float32), sampling(segments, torch.float64)
    grad = torch.ops.stn_det.deform_im2col(*arguments).cos()
    runs = []
    for order in ('up', 'down', 'shuffled'):
        monkeypatch.setenv('STN_DET_EMULATOR_ORDER', order)  # read by kernels of CUDA that are run on a CPU
        runs.append(gradients_of(arguments, grad, deterministic=True))
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other))
    for one, other in zip(runs[0], gradients_of(exact, grad.double())):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_gradients_that_are_not_finite_stay_where_they_belong() -> None:
    """Infinity and NaN reach the four pixels of their point and no other, in either mode."""
    x, offset = torch.ones(1, 4, 5, 8), torch.zeros(1, 2, 4, 5)
    arguments = x, offset, None, [1, 1], [1, 1], [0, 0], [1, 1], 1, 1, 0, 20
    for bad in (math.inf, -math.inf, math.nan):
        for deterministic in (False, True):
            grad = torch.ones(1, 20, 1, 8)
            grad[0, 7, 0, 3] = bad
            grad_input = torch.zeros_like(x)
            torch.ops.stn_det.deform_im2col_backward(
                grad, *arguments, grad_input, None, None, deterministic=deterministic
            )
            assert not grad_input[0, 1, 2, 3].isfinite()
            assert grad_input.isfinite().sum() >= grad_input.numel() - 4
            rest = grad_input[..., [0, 1, 2, 4, 5, 6, 7]]
            assert torch.equal(rest, torch.ones_like(rest))
