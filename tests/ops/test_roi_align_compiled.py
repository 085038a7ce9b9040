"""The compiled RoIAlign, axis-aligned and rotated: against the plain one in every dtype, and under torch.compile."""

import math
from functools import partial

import pytest
import torch

from stn_det.ops import _library, roi_align, roi_align_rotated
from stn_det.ops.reference.roi_align import roi_align_reference
from stn_det.ops.reference.roi_align_rotated import roi_align_rotated_reference

pytestmark = pytest.mark.usefixtures('compiled')

SIZE = (3, 2)
SCALE = 0.5
HEIGHT, WIDTH = 23, 29


def inputs(dtype=torch.float64, channels=5, rois=17, rotated=True):
    """Two maps and RoIs inside them, across their edges and outside."""
    generator = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    feature = torch.randn(2, channels, HEIGHT, WIDTH, generator=generator).to(dtype)
    index = torch.randint(0, 2, (rois, 1), generator=generator).to(wide)
    centre = torch.rand(rois, 2, generator=generator, dtype=wide) * 80 - 10
    size = torch.rand(rois, 2, generator=generator, dtype=wide) * 30 + 0.5
    if not rotated:
        return feature, torch.cat([index, centre - size / 2, centre + size / 2], 1)
    theta = 6 * torch.rand(rois, 1, generator=generator, dtype=wide) - 3
    return feature, torch.cat([index, centre, size, theta], 1)


def case(kind, ratio=0, aligned=True):
    """The public function, the plain one, and whether the RoIs are rotated."""
    if kind == 'rotated':
        ours = partial(roi_align_rotated, spatial_scale=SCALE, sampling_ratio=ratio, aligned=aligned, clockwise=True)
        plain = partial(roi_align_rotated_reference, clockwise=True)
    else:
        ours = partial(roi_align, spatial_scale=SCALE, sampling_ratio=ratio, aligned=aligned, pool_mode=kind)
        plain = partial(roi_align_reference, pool_mode=kind)
    plain = partial(plain, spatial_scale=SCALE, sampling_ratio=ratio, aligned=aligned)
    return lambda x, r: ours(x, r, SIZE), lambda x, r: plain(x, r, SIZE), kind == 'rotated'


def pair(checks, kind, arguments, **options):
    """Output and gradients, ours and the plain ones in float64."""
    ours, plain, rotated = case(kind, **options)
    feature, rois = arguments

    def run(function, x, r):
        if rotated:
            return checks.gradients(function, (x, r))
        return checks.gradients(lambda leaf: function(leaf, r), (x,))

    return run(ours, feature, rois), run(plain, feature.double(), rois.double())


@pytest.mark.parametrize('channels', [1, 3, 8, 16, 33])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    # float32: coordinates up to 64 are rounded by 4e-6, which the slope of the features, about 3, turns into 1e-5
    [(torch.float64, 1e-13), (torch.float32, 2e-5), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_agrees_with_the_reference_in_float64(checks, dtype, tolerance, kind, channels) -> None:
    arguments = inputs(dtype, channels, rotated=kind == 'rotated')
    found, wanted = pair(checks, kind, arguments)
    assert [part.dtype for part in found[:2]] == [dtype, dtype]
    for one, other in zip(found, wanted, strict=True):
        # The points of a maximum may differ where two of them are equal up to rounding.
        loose = kind == 'max' and dtype != torch.float64 and one.shape == arguments[0].shape
        wrong = (one - other).abs() > tolerance * other.abs().max()
        assert wrong.double().mean() <= (0.01 if loose else 0)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 5])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_every_grid(checks, kind, ratio, aligned) -> None:
    found, wanted = pair(checks, kind, inputs(rotated=kind == 'rotated'), ratio=ratio, aligned=aligned)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_gradient_at_pixels_and_at_the_edges(checks) -> None:
    """Points on pixel -1, on 0, on the last pixel, one after it and just beyond, where the clamp has its corners."""
    at = torch.tensor(
        [-1.0001, -1, -0.5, 0, 0.5, 1, WIDTH - 2, WIDTH - 1.5, WIDTH - 1, WIDTH - 0.5, WIDTH, WIDTH + 1.0]
    )
    rois = torch.zeros(len(at), 6, dtype=torch.float64)
    rois[:, 1], rois[:, 2], rois[:, 3:5] = at + 0.5, 4.2, 1.0

    def one_point(function, x, r):
        return function(x, r, (1, 1), spatial_scale=1.0, sampling_ratio=1, aligned=True, clockwise=True)

    feature = inputs()[0]
    for one, other in zip(
        checks.gradients(partial(one_point, roi_align_rotated), (feature, rois)),
        checks.gradients(partial(one_point, roi_align_rotated_reference), (feature, rois)),
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize('size', [(2, 5), (5, 2), (1, 7)])
def test_output_that_is_not_square(checks, size) -> None:
    """mmcv writes the output height as the width of its ONNX node."""
    feature, rois = inputs()
    found = roi_align_rotated(feature, rois, size, SCALE, clockwise=True)
    assert found.shape[2:] == size
    torch.testing.assert_close(found, roi_align_rotated_reference(feature, rois, size, SCALE, 0, True, True))
    checks.exports(lambda x, r: roi_align_rotated(x, r, size, SCALE), (feature, rois), 'roi_align_rotated')
    checks.exports(lambda x, r: roi_align(x, r[:, :5], size, SCALE), (feature, rois), 'roi_align')


@pytest.mark.parametrize('sides', [(0.0, 0.0), (0.0, 8.0), (8.0, 0.0), (-3.0, 5.0)])
def test_roi_without_size_sends_back_zeros(checks, sides) -> None:
    """mmcv's backward divides by the number of points without max(count, 1)."""
    feature, rois = inputs(rois=2)
    rois[1, 3:5] = torch.tensor(sides)
    output, grad_input, grad_rois = checks.gradients(case('rotated')[0], (feature, rois))
    assert not output[1].any()
    assert output[0].any()
    assert not grad_rois[1].any()
    assert grad_input.isfinite().all()
    corners = torch.cat(
        [rois[:, :3] - torch.nn.functional.pad(rois[:, 3:5] / 2, (1, 0)), rois[:, 1:3] + rois[:, 3:5] / 2], 1
    )
    for kind in ('avg', 'max'):
        output, grad = checks.gradients(lambda x, k=kind: case(k)[0](x, corners), (feature,))
        assert not output[1].any()
        assert grad.isfinite().all()


def test_defaults_of_clockwise_differ_on_purpose() -> None:
    """The default turns as mmcv's does; boxes of this package need clockwise=True."""
    feature, rois = inputs()
    mirrored = rois * torch.tensor([1.0, 1, 1, 1, 1, -1])
    default = roi_align_rotated(feature, rois, SIZE, SCALE)
    assert torch.equal(default, roi_align_rotated(feature, rois, SIZE, SCALE, clockwise=False))
    assert torch.equal(default, roi_align_rotated(feature, mirrored, SIZE, SCALE, clockwise=True))


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30, -1e30])
@pytest.mark.parametrize('column', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('ratio', [0, 2])
def test_wild_rois(checks, bad, column, ratio) -> None:
    feature, rois = inputs(torch.float32, rois=3)
    rois[1, column] = bad
    for kind in ('rotated', 'avg', 'max'):
        function, _, rotated = case(kind, ratio)
        regions = rois if rotated else rois[:, :5]
        leaves = (feature, regions) if rotated else (feature,)
        output, *grads = checks.gradients(lambda x, r=regions, f=function: f(x, r), leaves)
        assert output.isfinite().all()
        assert all(grad.isfinite().all() for grad in grads)
        if not math.isfinite(bad) and column < regions.shape[1]:
            assert not output[1].any()
            assert not rotated or not grads[1][1].any()
        assert torch.equal(output[0], function(feature, regions[:1])[0])


def test_far_outside_reads_nothing(checks) -> None:
    feature, _ = inputs()
    rois = torch.tensor([[0, 1e4, 5, 8, 8, 0.3], [1, 5, -1e4, 8, 8, 0.3]], dtype=torch.float64)
    for part in checks.gradients(case('rotated')[0], (feature, rois)):
        assert not part.any()


@pytest.mark.usefixtures('cpu_only')
@pytest.mark.parametrize('index', [2.0, -1.0, 1e30])
def test_batch_index_outside_the_batch_is_refused(index, implementation) -> None:
    feature, rois = inputs(torch.float32)
    rois[3, 0] = index
    for kind in ('rotated', 'avg', 'max'):
        function, _, rotated = case(kind)
        with pytest.raises(
            (ValueError, RuntimeError), match=r'rois\[3\] has batch index .*, expected one of the 2 images'
        ):
            function(feature, rois if rotated else rois[:, :5])


@pytest.mark.usefixtures('cpu_only')
def test_batch_index_outside_the_batch_is_refused_backward() -> None:
    _, rois = inputs(rotated=False)
    grad = torch.zeros(17, 5, 3, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r'rois\[\d+\] has batch index 1'):
        torch.ops.stn_det.roi_align_backward(grad, rois, 1, HEIGHT, WIDTH, 3, 2, 1.0, 0, True)


@pytest.mark.parametrize('index', [2.0, -1.0, 1e30])
def test_batch_index_outside_the_batch_reads_nothing_on_a_gpu(checks, index) -> None:
    """There values are not asked for. The operators of a CPU refuse it."""
    if _library.instruction_set():
        pytest.skip('the operators are those of a CPU')
    feature, rois = inputs(torch.float32)
    rois[3, 0] = index
    others = [i for i in range(len(rois)) if i != 3]
    for kind in ('rotated', 'avg', 'max'):
        function, _, rotated = case(kind)
        regions = rois if rotated else rois[:, :5]
        output, *grads = checks.gradients(lambda x, r=regions, f=function: f(x, r), (feature,))
        assert torch.equal(output[others], function(feature, regions[others]))
        assert not output[3].any()
        assert grads[0].isfinite().all()
        if rotated:
            assert not checks.gradients(function, (feature, rois))[2][3].any()


def test_sizes_that_do_not_fit_are_refused() -> None:
    feature, rois = inputs(rotated=False)
    backward = torch.ops.stn_det.roi_align_backward
    grad = torch.zeros(17, 5, 3, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r'maps of less than 2\^31 pixels'):
        backward(grad, rois, 2, 2**17, 2**17, 3, 2, 1.0, 0, True)
    with pytest.raises(RuntimeError, match='grad_output does not have the shape'):
        backward(grad, rois, 2, HEIGHT, WIDTH, 2, 3, 1.0, 0, True)
    with pytest.raises(RuntimeError, match='sampling_ratio is 257'):
        torch.ops.stn_det.roi_align(feature, rois, 3, 2, 1.0, 257, True)
    with pytest.raises(RuntimeError, match='expected 0 to 256'):
        torch.ops.stn_det.roi_align(feature, rois, 3, 2, 1.0, -1, True)
    with pytest.raises(RuntimeError, match=r'expected less than 2\^31 bins'):
        torch.ops.stn_det.roi_align(feature, rois[:0], 2**16, 2**16, 1.0, 0, True)
    with pytest.raises(RuntimeError, match=r'expected shape \(R, 6\)'):
        torch.ops.stn_det.roi_align_rotated(feature, rois, 3, 2, 1.0, 0, True, True)


def test_an_argmax_of_nowhere_sends_nothing_back() -> None:
    _, rois = inputs(rotated=False)
    argmax = torch.full((17, 5, 3, 2), 2**31 - 1, dtype=torch.int32)
    argmax[::2] = -5
    grad = torch.ones(17, 5, 3, 2, dtype=torch.float64)
    sizes = (2, HEIGHT, WIDTH, 3, 2, SCALE, 0, True)
    assert not torch.ops.stn_det.roi_align_max_backward(grad, argmax, rois, *sizes).any()


def test_ties_and_nan_of_the_maximum(checks) -> None:
    """Where a map is flat the first point gets the gradient; a NaN among the points is the result."""
    feature, rois = torch.ones(1, 2, 9, 9), torch.tensor([[0, 1.0, 1, 7, 7]])
    feature[0, 1, 2, 2] = math.nan
    results = []
    for function in case('max', 2)[:2]:
        results.append(checks.gradients(lambda x, f=function: f(x, rois), (feature,)))
    assert results[0][0][:, 1].isnan().any()
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, equal_nan=True, atol=1e-6, rtol=0)


@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
@pytest.mark.parametrize('empty', ['rois', 'batch and rois'])
def test_empty(checks, kind, empty) -> None:
    feature, rois = inputs(rotated=kind == 'rotated')
    feature, rois = feature[:0] if empty == 'batch and rois' else feature, rois[:0]
    output, grad = checks.gradients(lambda x: case(kind)[0](x, rois), (feature,))
    assert output.shape == (0, feature.shape[1], *SIZE)
    assert grad.shape == feature.shape
    assert not grad.any()


@pytest.mark.parametrize('images', [1, 3, 7])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_images_of_any_batch_are_alone(checks, kind, images) -> None:
    function, _, rotated = case(kind)
    feature, rois = inputs(rotated=rotated)
    feature = torch.cat([feature, feature.flip(2), feature.flip(3), feature[:1].flip(1)])[:images]
    rois[:, 0] = torch.arange(17) % images
    output, grad = checks.gradients(lambda x: function(x, rois).square(), (feature,), torch.ones(17, 5, *SIZE))
    for image in range(images):
        its = rois[:, 0] == image
        alone = torch.cat([torch.zeros(int(its.sum()), 1), rois[its, 1:]], 1)
        one = feature[image : image + 1]
        wanted = checks.gradients(lambda x, r=alone: function(x, r).square(), (one,), torch.ones(len(alone), 5, *SIZE))
        torch.testing.assert_close(output[its], wanted[0], atol=1e-13, rtol=0)
        torch.testing.assert_close(grad[image : image + 1], wanted[1], atol=1e-12, rtol=0)


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_any_layout_of_the_arguments(checks, kind) -> None:
    function, _, rotated = case(kind)
    feature, rois = inputs(torch.float32, 24, rotated=rotated)
    expanded = torch.ones(()).expand(17, 24, *SIZE)
    run = partial(checks.gradients, grad_output=expanded)
    expected = run(lambda x: function(x, rois), (feature,))
    for layout in (feature.to(memory_format=torch.channels_last), feature.transpose(2, 3).contiguous().transpose(2, 3)):
        turned = rois.t().contiguous().t()
        assert not layout.is_contiguous()
        for one, other in zip(run(lambda x, r=turned: function(x, r), (layout,)), expected):
            assert torch.equal(one, other)
    if rotated:
        last = feature.to(memory_format=torch.channels_last)
        assert torch.equal(run(function, (last, rois))[2], run(function, (feature, rois))[2])


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('channels', [24, 13])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_channels_last_in_packs_and_one_by_one(checks, kind, dtype, channels) -> None:
    function, _, rotated = case(kind, 2)
    feature, rois = inputs(dtype, channels, rotated=rotated)
    last = feature.to(memory_format=torch.channels_last)
    one, other = (checks.gradients(lambda x: function(x, rois), (x,)) for x in (feature, last))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize('channels', [3, 70])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_few_rois_are_read_from_planes(checks, kind, dtype, channels) -> None:
    """A GPU does not turn a map of which little is read."""
    arguments = inputs(dtype, channels, rois=2, rotated=kind == 'rotated')
    found, wanted = pair(checks, kind, arguments)
    for one, other in zip(found, wanted, strict=True):
        wrong = (one - other).abs() > (1e-13 if dtype == torch.float64 else 8e-3) * other.abs().max()
        assert wrong.double().mean() <= (0.01 if kind == 'max' else 0)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_more_bins_and_channels_than_one_block_takes(checks, kind, dtype) -> None:
    size, (feature, rois) = (15, 14), inputs(dtype, 139, 5, kind == 'rotated')
    options = {'spatial_scale': SCALE, 'sampling_ratio': 0, 'aligned': True}
    if kind == 'rotated':
        ours, plain = partial(roi_align_rotated, clockwise=True), partial(roi_align_rotated_reference, clockwise=True)
    else:
        ours, plain = partial(roi_align, pool_mode=kind), partial(roi_align_reference, pool_mode=kind)

    def run(function, x, r):
        leaves = (x, r) if kind == 'rotated' else (x,)
        return checks.gradients(lambda x, r=r: function(x, r, size, **options), leaves)

    found, wanted = run(ours, feature, rois), run(plain, feature.double(), rois.double())
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 8e-3}[dtype]
    for one, other in zip(found, wanted, strict=True):
        wrong = (one - other).abs() > tolerance * other.abs().max()
        assert wrong.double().mean() <= (0.01 if kind == 'max' and dtype != torch.float64 else 0)


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('rois', [2, 40])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_deterministic_gradients_have_the_same_bits(checks, monkeypatch, kind, dtype, rois) -> None:
    """In whatever order threads come; without kernels of CUDA the variable means nothing."""
    function, plain, rotated = case(kind)
    feature, regions = inputs(dtype, 6, rois, rotated)
    grads = []
    for order in ('up', 'down', 'shuffled'):
        monkeypatch.setenv('STN_DET_EMULATOR_ORDER', order)
        grads.append(checks.gradients(lambda x: function(x, regions), (feature,))[1])
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])
    expected = checks.gradients(lambda x: plain(x, regions.double()), (feature.double(),))[1]
    wrong = (grads[0] - expected).abs() > (1e-12 if dtype == torch.float64 else 2e-5) * expected.abs().max()
    assert wrong.double().mean() <= (0.01 if kind == 'max' else 0)


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_the_number_of_threads_changes_no_bit(checks, kind) -> None:
    function, _, rotated = case(kind)
    feature, rois = inputs(torch.float32, 70, 200, rotated)
    function_of = checks.gradients if rotated else (lambda f, a: checks.gradients(lambda x: f(x, a[1]), a[:1]))
    checks.same_for_any_number_of_threads(lambda: function_of(function, (feature, rois)))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_opcheck(dtype) -> None:
    ops = torch.ops.stn_det
    options = (3, 2, SCALE, 2, True)
    feature, boxes = inputs(dtype, rois=5)
    _, rois = inputs(dtype, rois=5, rotated=False)
    wide, sizes = rois.dtype, (2, HEIGHT, WIDTH)
    grad = torch.randn(5, 5, 3, 2).to(wide)
    argmax = ops.roi_align_max(feature, rois, *options)[1]
    leaves = feature.clone().requires_grad_(), boxes.clone().requires_grad_()
    for op, arguments in (
        (ops.roi_align, (leaves[0], rois, *options)),
        (ops.roi_align_max, (leaves[0], rois, *options)),
        (ops.roi_align_rotated, (*leaves, *options, True)),
        (ops.roi_align_backward, (grad, rois, *sizes, *options)),
        (ops.roi_align_max_backward, (grad, argmax, rois, *sizes, *options)),
        (ops.roi_align_rotated_backward, (grad, boxes, *sizes, *options, True)),
        (ops.roi_align_rotated_backward_rois, (grad, feature, boxes, *options, True)),
    ):
        torch.library.opcheck(op.default, arguments)


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('kind', ['avg', 'max', 'rotated'])
def test_compiles_whole_forward_and_backward(checks, kind) -> None:
    function, _, rotated = case(kind)
    arguments = inputs(torch.float32, rotated=rotated)
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    if not rotated:
        rois, arguments = arguments[1], arguments[:1]
        runs = [checks.gradients(lambda x, f=f: f(x, rois), arguments) for f in (compiled, function)]
    else:
        runs = [checks.gradients(f, arguments) for f in (compiled, function)]
    for one, other in zip(*runs):
        assert torch.equal(one, other)


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path) -> None:
    feature, rois = inputs(torch.float32, channels=40)
    found = checks.portable('roi_align_rotated', (feature, rois, SIZE, SCALE), tmp_path)
    torch.testing.assert_close(found, roi_align_rotated(feature, rois, SIZE, SCALE), atol=5e-5, rtol=0)
    for mode in ('avg', 'max'):
        arguments = (feature, rois[:, :5], SIZE, SCALE, 2, True, mode)
        found = checks.portable('roi_align', arguments, tmp_path)
        torch.testing.assert_close(found, roi_align(*arguments), atol=5e-5, rtol=0)


def test_few_rois_on_a_large_map_and_many_shares(checks) -> None:
    """Grids so large that the taps are found in more than one share, and RoIs that touch a corner of the map alone."""
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 3, 150, 170, generator=generator, dtype=torch.float64)
    rois = torch.tensor([[0, 75, 85, 300, 300, 0.4]] * 7 + [[0, 167, 148, 6, 9, 1.0]], dtype=torch.float64)

    def run(function, x, r):
        return function(x, r, (6, 8), spatial_scale=1.0, sampling_ratio=64, aligned=True, clockwise=True)

    for one, other in zip(
        checks.gradients(partial(run, roi_align_rotated), (feature, rois)),
        checks.gradients(partial(run, roi_align_rotated_reference), (feature, rois)),
    ):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
