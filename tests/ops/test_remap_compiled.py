"""Compiled reading at given points: against the plain one in every dtype and layout, and under torch.compile."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from stn_det.ops import remap, warp_sample
from stn_det.ops.reference.remap import remap_reference

pytestmark = pytest.mark.usefixtures('compiled')

CHOICES = list(itertools.product(('bilinear', 'nearest', 'bicubic'), ('zeros', 'border', 'reflection')))


def inputs(dtype=torch.float64, images=2, channels=5, height=23, width=31, out=(19, 26), spread=3.0):
    """Images, and points of a smooth map of `out` onto each of them that scatter a little, some of them outside.

    `spread`: standard deviation in pixels."""
    generator = torch.Generator().manual_seed(channels)
    image = torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64).to(dtype)
    y, x = torch.meshgrid(torch.arange(out[0]) + 0.5, torch.arange(out[1]) + 0.5, indexing='ij')
    points = torch.stack([1.1 * x / out[1] * width - 1, 1.1 * y / out[0] * height - 1], -1).double()
    shifts = torch.randn(images, *out, 2, generator=generator, dtype=torch.float64)
    return image, points + spread * shifts


def both(checks, arguments, *options) -> list[tuple[Tensor, Tensor]]:
    """Results and gradients, ours and those of the plain version in float64."""
    found = checks.gradients(lambda x, p: remap(x, p, *options), arguments)
    wanted = checks.gradients(
        lambda x, p: remap_reference(x, p, *options),
        [part.double() for part in arguments],
        torch.cos(torch.arange(found[0].numel())).view_as(found[0]).to(found[0]).double(),
    )
    return list(zip(found, wanted, strict=True))


@pytest.mark.parametrize('of_points', [torch.float64, torch.float32])
@pytest.mark.parametrize('channels', [1, 3, 8, 11, 16, 33])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    # Relative to the largest value. Float32 sums up to 16 taps; the half types add their own rounding of the result.
    [(torch.float64, 1e-12), (torch.float32, 4e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
@pytest.mark.usefixtures('deterministic')
def test_agrees_with_the_reference_in_float64(checks, dtype, tolerance, channels, of_points) -> None:
    image, points = inputs(dtype, channels=channels, images=8 if channels == 33 else 2)
    points = points.to(of_points)
    for mode, padding in CHOICES:
        pairs = both(checks, (image, points), mode, padding)
        assert [one.dtype for one, _ in pairs] == [dtype, dtype, of_points]
        for one, other in pairs[:2]:
            assert (one - other).abs().max() <= tolerance * other.abs().max()
        bound = max(1e-11 if of_points == torch.float64 else 1e-6, min(tolerance, 4e-6))
        assert (pairs[2][0] - pairs[2][1]).abs().max() <= bound * pairs[2][1].abs().max()


@pytest.mark.parametrize('spread', [0.0, 200.0])
@pytest.mark.parametrize('size', [(1, 1), (1, 200), (130, 3), (65, 129), (9, 12)])
def test_tiles_of_any_size(checks, size, spread) -> None:
    """One pixel, one row, full tiles, tiles and a rest; frames of the source and points too far apart for one."""
    arguments = inputs(channels=9, height=70, width=90, out=size, spread=spread)
    for mode, padding in (('bilinear', 'zeros'), ('bicubic', 'reflection'), ('nearest', 'border')):
        pairs = both(checks, arguments, mode, padding)
        for one, other in pairs:
            assert (one - other).abs().max() <= 1e-11 * max(1.0, other.abs().max())
        image, points = (part.detach().clone() for part in arguments)
        grad = torch.cos(torch.arange(pairs[0][0].numel())).view_as(pairs[0][0]).double()
        (alone,) = torch.autograd.grad(remap(image, points.requires_grad_(), mode, padding), points, grad)
        assert torch.equal(alone, pairs[2][0])  # with a gradient to the image and without: the same bits
        (alone,) = torch.autograd.grad(remap(image.requires_grad_(), points.detach(), mode, padding), image, grad)
        torch.testing.assert_close(alone, pairs[1][0], atol=1e-12, rtol=0)


@pytest.mark.parametrize('mode', ['bilinear', 'nearest', 'bicubic'])
def test_gives_the_bits_of_the_warp_at_the_same_points(mode) -> None:
    """A matrix whose products are exact."""
    image, _ = inputs(torch.float32, channels=20)
    matrix = torch.tensor([[[0.75, -0.5, 4.125], [0.5, 1.25, -3.25]]], dtype=torch.float64).expand(2, 2, 3)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(70) + 0.5, indexing='ij')
    points = torch.stack([0.75 * x - 0.5 * y + 4.125, 0.5 * x + 1.25 * y - 3.25], -1)[None]
    for padding in ('zeros', 'border', 'reflection'):
        wanted = warp_sample(image, matrix, (40, 70), mode, padding)
        assert torch.equal(remap(image, points, mode, padding), wanted)


def test_a_crop_of_a_large_image_reads_only_the_crop() -> None:
    """An image that exists only as one row, repeated: a copy of it would need 16 GiB."""
    wide = torch.arange(2.0**16)[None, None, None].expand(1, 1, 2**16, 2**16)
    y, x = torch.meshgrid(torch.arange(5) + 50000.5, torch.arange(7) + 60000.5, indexing='ij')
    points = torch.stack([x, y], -1)[None].requires_grad_()
    result = remap(wide, points)
    assert torch.equal(result, (60000 + torch.arange(7.0)).expand(1, 1, 5, 7))
    (grad,) = torch.autograd.grad(result.sum(), points)
    assert torch.equal(grad, torch.tensor([1.0, 0.0]).expand(1, 5, 7, 2))


def test_too_many_pixels_for_a_gradient_are_refused() -> None:
    wide = torch.zeros(1)[None, None, None].expand(1, 1, 2**16, 2**16)
    with pytest.raises(
        RuntimeError, match=r'input is 65536 x 65536, expected fewer than 2\^31 pixels for its gradient'
    ):
        torch.ops.stn_det.remap_backward(
            torch.zeros(1, 1, 5, 7), wide, torch.zeros(1, 5, 7, 2), 0, 0, False, True, True
        )


def test_arguments_that_do_not_fit_are_refused_below_the_wrapper() -> None:
    image, points = inputs()
    call, back = torch.ops.stn_det.remap, torch.ops.stn_det.remap_backward
    with pytest.raises(RuntimeError, match=r'points has to be of shape \(N, h, w, 2\) with N = 2'):
        call(image, points[:1], 0, 0, False)
    with pytest.raises(RuntimeError, match=r'points has to be of shape \(N, h, w, 2\) with N = 2'):
        call(image, points[..., :1], 0, 0, False)
    with pytest.raises(RuntimeError, match='points has to be float64 or float32'):
        call(image, points.half(), 0, 0, False)
    with pytest.raises(RuntimeError, match='mode is 3, expected 0, 1 or 2'):
        call(image, points, 3, 0, False)
    with pytest.raises(RuntimeError, match='padding is -1, expected 0, 1 or 2'):
        call(image, points, 0, -1, False)
    with pytest.raises(RuntimeError, match='input is 0 x 31, expected 1 to'):
        call(image[:, :, :0], points, 0, 0, False)
    with pytest.raises(RuntimeError, match='grad_output does not have the shape and dtype'):
        back(torch.zeros(2, 4, 19, 26).double(), image, points, 0, 0, False, True, True)
    with pytest.raises(RuntimeError, match='grad_output is 19 x 25, expected 19 x 26 like points'):
        back(torch.zeros(2, 5, 19, 25).double(), image, points, 0, 0, False, True, True)


@pytest.mark.usefixtures('deterministic')
def test_any_layout_of_the_arguments(checks) -> None:
    image, points = inputs(torch.float32, channels=12)
    plain = checks.gradients(remap, (image, points))
    last = image.contiguous(memory_format=torch.channels_last)
    turned = image.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    grad = torch.cos(torch.arange(plain[0].numel())).view_as(plain[0])
    layouts = (points, points.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), points.flip(2).flip(2))
    for other in (last, turned, image.flip(3).flip(3), torch.cat([image, image], 1)[:, :12]):
        for layout, given in itertools.product((torch.contiguous_format, torch.channels_last), layouts):
            x, p = other.detach().requires_grad_(), given.detach().requires_grad_()
            output = remap(x, p)
            grads = torch.autograd.grad(output, (x, p), grad.contiguous(memory_format=layout))
            for one, wanted in zip((output, *grads), plain):
                # The gradient to the points is summed over other channels at once on a GPU.
                torch.testing.assert_close(one, wanted, atol=1e-5, rtol=0)
            assert torch.equal(output, plain[0])
            assert output.is_contiguous(memory_format=torch.channels_last) == (other is last)
            assert output.is_contiguous() == (other is not last)


@pytest.mark.usefixtures('deterministic')
def test_expanded_gradients_images_and_points(checks) -> None:
    image, points = inputs(torch.float32)
    grad = torch.ones(()).expand(2, 5, 19, 26)
    found = checks.gradients(remap, (image, points), grad)
    wanted = checks.gradients(remap, (image, points), grad.contiguous())
    assert all(torch.equal(*pair) for pair in zip(found, wanted))
    assert torch.equal(remap(image[:1], points), remap(image[:1].repeat(2, 1, 1, 1), points))
    assert torch.equal(remap(image, points[:1]), remap(image, points[:1].repeat(2, 1, 1, 1)))


@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit(checks) -> None:
    for shape in (dict(images=3, channels=40), dict(images=1, channels=3, height=150, width=140, out=(150, 141))):
        image, points = inputs(torch.float32, **shape)

        def run(image=image, points=points):
            alone = points.clone().requires_grad_()
            output = remap(image, alone, 'bicubic', 'border')
            grad = torch.autograd.grad(output, alone, output.detach())
            return *grad, *checks.gradients(remap, (image, points))

        checks.same_for_any_number_of_threads(run)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize('last', [False, True])
def test_opcheck(dtype, last) -> None:
    image, points = inputs(dtype)
    layout = torch.channels_last if last else torch.contiguous_format
    image = image.contiguous(memory_format=layout).requires_grad_()
    torch.library.opcheck(torch.ops.stn_det.remap.default, (image, points.requires_grad_(), 2, 1, last))
    grad, image, points = torch.randn(2, 5, 19, 26, dtype=dtype), image.detach(), points.detach().float()
    for wanted in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(torch.ops.stn_det.remap_backward.default, (grad, image, points, 0, 2, last, *wanted))


@pytest.mark.usefixtures('deterministic')
def test_compiles_whole_forward_and_backward(checks) -> None:
    def function(x: Tensor, p: Tensor) -> Tensor:
        return remap(x, p + 0.25, 'bicubic', 'border')

    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    arguments = inputs(torch.float32)
    for one, other in zip(checks.gradients(compiled, arguments), checks.gradients(function, arguments)):
        assert torch.equal(one, other)


def test_exports(checks) -> None:
    checks.exports(remap, inputs(torch.float32), 'remap')


@pytest.mark.parametrize('padding', ['zeros', 'reflection'])
@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path, padding) -> None:
    arguments = inputs(torch.float32, channels=20, images=8)
    found = checks.portable('remap', arguments, tmp_path, padding_mode=padding)
    torch.testing.assert_close(found, remap(*arguments, padding_mode=padding), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-12), (torch.float32, 4e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
# Packs of 2, 4 or 8 channels a lane; more packs than lanes; no whole pack.
@pytest.mark.parametrize('channels', [8, 24, 13, 264])
def test_channels_last_agrees_with_the_reference(checks, dtype, tolerance, channels) -> None:
    # Tiles smaller and larger than the image, and not a multiple of it.
    image, points = inputs(dtype, channels=channels, out=(3, 7) if channels > 200 else (11, 19))
    image = image.contiguous(memory_format=torch.channels_last)
    for options in (('bilinear', 'zeros'), ('bilinear', 'reflection'), ('nearest', 'border'), ('bicubic', 'border')):
        x, p = image.clone().requires_grad_(), points.clone().requires_grad_()
        assert x.is_contiguous(memory_format=torch.channels_last)
        output = remap(x, p, *options)
        grad = torch.cos(torch.arange(output.numel())).view(output.shape).to(dtype)
        grads = torch.autograd.grad(output, (x, p), grad.contiguous(memory_format=torch.channels_last))
        wanted = checks.gradients(
            lambda x, p, options=options: remap_reference(x, p, *options), [image.double(), points], grad.double()
        )
        assert output.is_contiguous(memory_format=torch.channels_last)
        for one, other, bound in zip(
            (output, *grads), wanted, (tolerance, tolerance, max(min(tolerance, 4e-6), 1e-11))
        ):
            assert (one - other).abs().max() <= bound * other.abs().max()


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_deterministic_gradients(dtype, last) -> None:
    """The mode changes no more than rounding, and repeats every bit; the gradient to the points has no other way."""
    image, points = inputs(dtype, channels=8, out=(19, 45))
    image = image.contiguous(memory_format=torch.channels_last) if last else image

    def run() -> tuple[Tensor, ...]:
        x, p = image.clone().requires_grad_(), points.clone().requires_grad_()
        output = remap(x, p, 'bicubic', 'border')
        return torch.autograd.grad(output, (x, p), output.detach())

    free, again = run(), run()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = run(), run()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(free[1], again[1])
    assert all(torch.equal(*pair) for pair in zip(first, second))
    bound = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 8e-3}[dtype]
    for one, other in zip(first, free):
        assert (one - other).abs().max() <= bound * other.abs().max()


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('deterministic', [False, True])
def test_wild_gradients_and_pixels_stay_where_they_are(layout, deterministic) -> None:
    """NaN and infinity in a gradient reach the pixels and points that it belongs to, and no others."""
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(20) + 0.5, indexing='ij')
    points = torch.stack([x, y], -1)[None].clone()
    points[0, 7, 8, 0], points[0, 9, 9] = math.nan, math.inf  # read nothing
    points.requires_grad_()
    image = torch.ones(1, 8, 20, 20).contiguous(memory_format=layout).requires_grad_()
    output = remap(image, points)
    grad = torch.ones_like(output)
    grad[0, 3, 4, 5], grad[0, 2, 0, 0], grad[0, :, 7, 8], grad[0, :, 9, 9] = math.nan, math.inf, math.nan, math.inf
    torch.use_deterministic_algorithms(deterministic)
    try:
        found, to_points = torch.autograd.grad(output, (image, points), grad)
    finally:
        torch.use_deterministic_algorithms(False)
    expected = grad.clone()
    expected[0, :, 7, 8], expected[0, :, 9, 9] = 0, 0
    assert torch.equal(found.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    wild = ~to_points.isfinite().all(-1)[0]
    assert set(map(tuple, wild.nonzero().tolist())) == {(4, 5), (0, 0)}
    assert not to_points[0, 7, 8].any()
    assert not to_points[0, 9, 9].any()
