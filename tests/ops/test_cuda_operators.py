"""Every operator on a GPU, and what only a GPU can be asked: streams, graphs, several devices.

Where the tests run on the emulated kernels (``make test-emulated``), those that need no GPU run too.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from stn_det import ops
from stn_det.errors import InputError
from stn_det.ops import _library

EMULATED = bool(_library._on_cpu) and not _library.instruction_set()
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
OTHER_DEVICE = 'cpu' if DEVICE == 'cuda' else 'meta'
if DEVICE == 'cpu' and not EMULATED:
    pytest.skip('no GPU', allow_module_level=True)
if DEVICE == 'cuda' and not _library._on_cuda:
    pytest.skip(f'the operators for CUDA are {_library.library_report("cuda")[0]}', allow_module_level=True)

needs_gpu = pytest.mark.skipif(DEVICE == 'cpu', reason='no GPU')
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason='fewer than two GPUs')

LEVELS = torch.tensor([[19, 21], [10, 11], [5, 6]])
QUADS = torch.tensor([-1.0, -1, 1, -1, 1, 1, -1, 1])


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) in float64, the same on every device."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes(count: int, seed: int = 0) -> Tensor:
    """Rotated boxes (count, 5) many of which overlap."""
    scale = torch.tensor([300.0, 200, 60, 40, 6.3], dtype=torch.float64)
    return draw(count, 5, seed=seed) * scale + torch.tensor([0.0, 0, 3, 3, -3], dtype=torch.float64)


def quads(count: int, seed: int = 0) -> Tensor:
    """Quadrilaterals (count, 8) near squares."""
    centre = draw(count, 1, 2, seed=seed) * 200
    return (centre + 20 * QUADS.view(1, 4, 2) + 8 * draw(count, 4, 2, seed=seed + 1)).flatten(1)


def attention(size: int = 0, channels: int = 32, queries: int | None = None) -> tuple[Callable, list[Tensor]]:
    """Attention with given points, or fused with references of the given size."""
    positions = int(LEVELS.prod(1).sum())
    queries = queries or positions
    starts = torch.tensor([0, 399, 509])
    value = draw(2, positions, 4, channels) - 0.5
    if size == 0:
        places, weights = draw(2, queries, 4, 3, 4, 2, seed=1) * 1.2 - 0.1, draw(2, queries, 4, 3, 4, seed=2)
        return _given, [value, LEVELS, starts, places, weights]
    references = draw(2, queries, 3, size, seed=3) * 0.8 + 0.1
    offsets, logits = 3 * draw(2, queries, 4, 3, 4, 2, seed=1), draw(2, queries, 4, 12, seed=2)
    return _fused, [value, LEVELS, starts, references, offsets, logits]


def _given(value: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    return ops.ms_deform_attn(value, shapes, starts, places, weights)


def _fused(value: Tensor, shapes: Tensor, starts: Tensor, *rest: Tensor) -> Tensor:
    return ops.ms_deform_attn_fused(value, shapes, starts, *rest)


def rois(rotated: bool) -> Tensor:
    """RoIs on two images of 40 x 50."""
    image = torch.arange(21, dtype=torch.float64)[:, None] % 2
    if rotated:
        return torch.cat([image, boxes(21) * torch.tensor([0.15, 0.15, 0.2, 0.2, 1], dtype=torch.float64)], 1)
    corner = draw(21, 2) * 20
    return torch.cat([image, corner, corner + 3 + 20 * draw(21, 2, seed=1)], 1)


def matrices(rows: int) -> Tensor:
    """Turned and stretched maps (2, rows, 3), in perspective where there are three rows."""
    affine = torch.tensor([[1.3, 0.4, -5.0], [-0.3, 1.1, 6.0], [0.002, 0.001, 1.0]], dtype=torch.float64)
    return torch.stack([affine, affine.roll(1, 1).abs() * 0.1 + torch.eye(3, dtype=torch.float64)])[:, :rows]


def given_points() -> Tensor:
    """Points (2, 33, 45, 2) in and around images of 40 x 50."""
    return draw(2, 33, 45, 2, seed=6) * torch.tensor([60.0, 48.0], dtype=torch.float64) - 5


def convolve(image: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Deformable convolution v2 with two groups of offsets."""
    return ops.deform_conv2d(image, offset, weight, None, 1, 1, 1, mask, 1, 2)


def pool(kind: str, image: Tensor, places: Tensor) -> Tensor:
    """RoIAlign: 'avg', 'max' or 'rotated'."""
    if kind == 'rotated':
        return ops.roi_align_rotated(image, places, (7, 5), 0.5, 2)
    return ops.roi_align(image, places.detach(), (7, 5), 0.5, 0, True, kind)


CASES: dict[str, Callable[[], tuple[Callable, list[Tensor]]]] = {
    'ms_deform_attn': attention,
    'ms_deform_attn, 3 channels': partial(attention, channels=3, queries=97),
    'ms_deform_attn, 160 channels': partial(attention, channels=160, queries=31),
    'fused, points': partial(attention, 2),
    'fused, boxes': partial(attention, 4),
    'fused, rotated boxes': partial(attention, 5),
    'fused, few queries': partial(attention, 5, queries=97),
    'deform_conv2d': lambda: (
        convolve,
        [draw(2, 16, 18, 21), 4 * draw(2, 36, 18, 21) - 2, draw(8, 16, 3, 3) - 0.5, draw(2, 18, 18, 21)],
    ),
    'deform_conv_v3': lambda: (
        lambda x, offset, mask: ops.deform_conv_v3(x, offset, mask, 3, padding=1, groups=4),
        [draw(2, 18, 21, 32), 4 * draw(2, 18, 21, 72, seed=1) - 2, draw(2, 18, 21, 36, seed=2)],
    ),
    'deform_conv_v4': lambda: (
        lambda x, packed: ops.deform_conv_v4(x, packed, (1, 2), stride=2, groups=2),
        [draw(2, 18, 21, 12), 4 * draw(2, 9, 10, 16, seed=1) - 2],
    ),
    'warp, affine': lambda: (lambda x, m: ops.warp_sample(x, m, (33, 45)), [draw(2, 5, 40, 50), matrices(2)]),
    'warp, bicubic': lambda: (
        lambda x, m: ops.warp_sample(x, m, (33, 45), 'bicubic', 'reflection'),
        [draw(2, 8, 40, 50).contiguous(memory_format=torch.channels_last), matrices(3)],
    ),
    'warp, antialias': lambda: (
        lambda x, m: ops.warp_sample(x, m, (13, 15), 'bilinear', 'border', True),
        [draw(2, 5, 40, 50), matrices(3) * torch.tensor([2.5, 2.5, 1.0], dtype=torch.float64)],
    ),
    'remap': lambda: (ops.remap, [draw(2, 5, 40, 50), given_points()]),
    'remap, bicubic': lambda: (
        lambda x, p: ops.remap(x, p, 'bicubic', 'reflection'),
        [draw(2, 24, 40, 50).contiguous(memory_format=torch.channels_last), given_points()],
    ),
    'roi_align': lambda: (partial(pool, 'avg'), [draw(2, 12, 40, 50), rois(False)]),
    'roi_align, max': lambda: (partial(pool, 'max'), [draw(2, 12, 40, 50), rois(False)]),
    'roi_align_rotated': lambda: (partial(pool, 'rotated'), [draw(2, 12, 40, 50), rois(True)]),
    'box_iou_rotated': lambda: (ops.box_iou_rotated, [boxes(150), boxes(70, 5)]),
    'box_iou_rotated, aligned': lambda: (
        lambda a, b: ops.box_iou_rotated(a, b, aligned=True, mode='iof'),
        [boxes(300), boxes(300, 5)],
    ),
    'box_iou_quadri': lambda: (ops.box_iou_quadri, [boxes(80), quads(90, 3)]),
    'quadri_iou': lambda: (ops.quadri_iou, [quads(60), quads(70, 3)]),
    'rotated_iou_giou': lambda: (
        lambda a, b: torch.stack(ops.rotated_iou_giou(a, b)),
        [boxes(200), boxes(200, 5)],
    ),
    'sigmoid_focal_loss': lambda: (
        lambda x, t: ops.sigmoid_focal_loss(x, t, reduction='none'),
        [4 * draw(300, 15) - 2, (draw(300) * 16).long()],
    ),
}
# Those whose features may be float16 or bfloat16 while all else stays float32; index of the features.
# Not the maximum: features that rounding makes equal make another of them the largest.
HALVES = [
    name for name in CASES if name.startswith(('ms_', 'fused', 'deform', 'warp', 'remap', 'roi')) and 'max' not in name
]


def rectangles(count: int) -> Tensor:
    """Axis-aligned boxes (count, 4) many of which overlap."""
    corner = draw(count, 2) * 100
    return torch.cat([corner, corner + 40 * draw(count, 2, seed=1)], 1)


SUPPRESSIONS: dict[str, Callable] = {'nms': rectangles, 'nms_rotated': boxes, 'nms_quadri': quads}
SUPPRESSIONS |= {'soft_nms': rectangles, 'nms_rotated_mask': boxes}


def suppression(name: str, count: int = 300) -> tuple[Callable, list[Tensor]]:
    """A function that gives what is kept, and its arguments; soft_nms knows no labels."""
    parts = [SUPPRESSIONS[name](count), (draw(count, seed=4) * 50).round() / 50, (draw(count, seed=5) * 3).long()]
    if name == 'soft_nms':
        return lambda shapes, scores: ops.soft_nms(shapes, scores, 0.3)[1], parts[:2]
    return lambda shapes, scores, labels: getattr(ops, name)(shapes, scores, 0.3, labels), parts


def suppressor(name: str, count: int = 300) -> tuple[Callable, list]:
    """What works behind, whose results have a size that depends on no value, and its arguments on the device."""
    shapes, scores, *labels = (part.to(DEVICE) for part in suppression(name, count)[1])
    if name == 'nms_rotated_mask':
        return ops.nms_rotated_mask, [shapes, scores, 0.3, *labels]
    rest = [scores, 0.3, 0.5, 0.05, 1, 0] if name == 'soft_nms' else [scores.argsort(descending=True), *labels, 0.3]
    return getattr(torch.ops.stn_det, name), [shapes, *rest]


def as_arguments(parts: Sequence[Tensor], dtype: torch.dtype, device: str = DEVICE) -> list[Tensor]:
    """Copies on the device, the first in the dtype, other numbers in float32 at least; numbers get a gradient."""
    out = []
    for index, part in enumerate(parts):
        if not part.is_floating_point():
            out.append(part.to(device))
            continue
        wide = dtype if index == 0 or dtype == torch.float64 else torch.float32
        out.append(part.to(device, wide).requires_grad_())
    return out


def gradients(function: Callable, arguments: Sequence[Tensor]) -> list[Tensor]:
    """The result and the gradients to all arguments that have one, on the CPU in float64."""
    output = function(*arguments)
    weights = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).view(output.shape)
    leaves = [part for part in arguments if part.requires_grad]
    grads = torch.autograd.grad(output, leaves, weights.to(output), allow_unused=True)
    return [part.detach().double().cpu() for part in (output, *grads) if part is not None]


def assert_near(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    """Whether every result is within the tolerance, as a part of its norm, but for one number in a thousand.

    A point that rounding moves over the centre of a pixel has another slope there.
    """
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one.shape == other.shape
        errors = (one - other).abs().flatten().sort().values
        error = errors[: errors.numel() - errors.numel() // 1000].norm() / other.norm()
        assert error <= tolerance


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_agrees_with_plain_pytorch_in_float64(name, dtype, tolerance, monkeypatch) -> None:
    function, parts = CASES[name]()
    found = gradients(function, as_arguments(parts, dtype))
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    rounded = [part.to(dtype) if part.is_floating_point() else part for part in parts]
    assert_near(found, gradients(function, as_arguments(rounded, torch.float64, 'cpu')), tolerance)


@pytest.mark.parametrize('name', HALVES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_sixteen_bits_keep_their_precision(name, dtype, tolerance, monkeypatch) -> None:
    """Against float64 on the same rounded features: only the rounding of results and of gradients is left."""
    function, parts = CASES[name]()
    parts = [part.float().double() if part.is_floating_point() else part for part in parts]
    parts[0] = parts[0].to(dtype).double()
    found = gradients(function, as_arguments(parts, dtype))
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    assert_near(found, gradients(function, as_arguments(parts, torch.float64, 'cpu')), tolerance)


@pytest.mark.parametrize('name', CASES)
def test_deterministic_mode_gives_the_same_bits_and_nearly_the_same_numbers(name) -> None:
    function, parts = CASES[name]()
    plain = gradients(function, as_arguments(parts, torch.float32))
    torch.use_deterministic_algorithms(True)
    first, second = (gradients(function, as_arguments(parts, torch.float32)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second))
    assert_near(first, plain, 1e-5)


@pytest.mark.parametrize('labelled', [False, True])
@pytest.mark.parametrize('name', ['nms', 'nms_rotated', 'nms_quadri'])
def test_suppression_keeps_what_the_reference_keeps(name, labelled, monkeypatch) -> None:
    run, (shapes, scores, labels) = suppression(name)
    found = run(shapes.to(DEVICE), scores.to(DEVICE), labels.to(DEVICE) if labelled else None).cpu()
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    assert torch.equal(found, run(shapes, scores, labels if labelled else None))


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_suppression_agrees_with_the_reference(method, monkeypatch) -> None:
    shapes, scores = rectangles(200), draw(200, seed=2)
    found = ops.soft_nms(shapes.to(DEVICE), scores.to(DEVICE), 0.3, method=method)
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    wanted = ops.soft_nms(shapes, scores, 0.3, method=method)
    assert torch.equal(found[1].cpu(), wanted[1])
    torch.testing.assert_close(found[0].cpu(), wanted[0])


def test_levels_that_do_not_fit_show_as_nan() -> None:
    """Nobody waits for a GPU to refuse them; nothing outside of the value is read."""
    function, (value, shapes, starts, *rest) = attention()
    wrong = shapes.clone()
    wrong[2] = torch.tensor([500, 600])
    output = function(*as_arguments([value, wrong, starts, *rest], torch.float32))
    assert output.isnan().all()


# Which arguments hold one part for each image.
BATCHED = {
    'ms_deform_attn, 3 channels': (0, 3, 4),
    'fused, few queries': (0, 3, 4, 5),
    'deform_conv2d': (0, 1, 3),
    'deform_conv_v4': (0, 1),
    'warp, affine': (0, 1),
    'warp, bicubic': (0, 1),
}


@pytest.mark.parametrize('name', BATCHED)
@pytest.mark.parametrize('images', [1, 7])
def test_images_of_any_batch_are_alone(name, images) -> None:
    function, parts = CASES[name]()
    index = torch.arange(images) % 2
    for k in BATCHED[name]:
        parts[k] = parts[k][index] + 0.01 * draw(*parts[k][index].shape)

    def run(first: int, last: int) -> list[Tensor]:
        chosen = [part[first:last] if k in BATCHED[name] else part for k, part in enumerate(parts)]
        arguments = as_arguments(chosen, torch.float64)
        output = function(*arguments)
        return [output, *torch.autograd.grad(output.square().sum(), [arguments[k] for k in BATCHED[name]])]

    together = run(0, images)
    for image in range(images):
        for one, other in zip(together, run(image, image + 1)):
            torch.testing.assert_close(one[image : image + 1], other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize('name', [*CASES, *SUPPRESSIONS])
def test_devices_that_differ_are_refused(name) -> None:
    """Whichever of the arguments it is; from shapes and devices alone, so that it shows without a GPU."""
    function, parts = CASES[name]() if name in CASES else suppression(name)
    arguments = as_arguments(parts, torch.float32)
    for place in range(len(arguments)):
        moved = [part.to(OTHER_DEVICE) if k == place else part for k, part in enumerate(arguments)]
        with pytest.raises(InputError, match=f'on {OTHER_DEVICE}'):
            function(*moved)


@needs_gpu
def test_every_operator_is_compiled() -> None:
    assert {kind for kind in ops.status().values() if 'cuda' not in kind} == set()


@needs_gpu
@pytest.mark.parametrize('name', CASES)
def test_runs_on_the_current_stream(name) -> None:
    """Work of another stream that the operator depends on is waited for only on that stream."""
    function, parts = CASES[name]()
    wanted = gradients(function, as_arguments(parts, torch.float32))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)  # cycles: whoever takes another stream reads the copies before they are there
        found = gradients(function, as_arguments(parts, torch.float32))
    assert_near(found, wanted, 1e-5)


@needs_gpu
@pytest.mark.parametrize('name', CASES)
def test_a_graph_can_capture_it(name) -> None:
    """Nothing waits for the host, in either pass."""
    function, parts = CASES[name]()
    arguments = as_arguments(parts, torch.float32)
    leaves = [part for part in arguments if part.requires_grad]

    def run() -> list[Tensor]:
        output = function(*arguments)
        grads = torch.autograd.grad(output, leaves, torch.ones_like(output), allow_unused=True)
        return [part for part in (output.detach(), *grads) if part is not None]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for leaf in leaves[:1]:
            leaf.mul_(0.5)
    graph.replay()
    assert_near([part.double().cpu() for part in captured], [part.double().cpu() for part in run()], 1e-5)


@needs_gpu
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_waits_for_nobody_and_a_graph_can_capture_it(name) -> None:
    """The operator itself; only taking the kept indices needs their number."""
    operator, arguments = suppressor(name, 5000)
    operator(*arguments)
    torch.cuda.set_sync_debug_mode('error')
    try:
        operator(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = operator(*arguments)
    arguments[0].copy_(arguments[0].flip(0))
    graph.replay()
    found, wanted = (part if name == 'soft_nms' else [part] for part in (captured, operator(*arguments)))
    assert all(torch.equal(*pair) for pair in zip(found, wanted))


@needs_gpu
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_runs_on_the_current_stream(name) -> None:
    run, parts = suppression(name)
    wanted = run(*(part.to(DEVICE) for part in parts))
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(20_000_000)
        assert torch.equal(run(*(part.to(DEVICE) for part in parts)), wanted)


@needs_gpu
@pytest.mark.parametrize('name', ['nms', 'soft_nms', 'warp_sample', 'roi_align', 'ms_deform_attn'])
def test_operators_themselves_refuse_devices_that_differ(name) -> None:
    """Called without the functions around them, they would read memory of the host."""
    calls = {
        'warp_sample': [*as_arguments(CASES['warp, affine']()[1], torch.float64), 33, 45, 0, 0, False, False],
        'roi_align': [*as_arguments(CASES['roi_align']()[1], torch.float64), 7, 5, 0.5, 0, True],
        'ms_deform_attn': as_arguments(attention()[1], torch.float64),
    }
    operator, arguments = (getattr(torch.ops.stn_det, name), calls[name]) if name in calls else suppressor(name)
    for place in range(1, sum(isinstance(part, Tensor) for part in arguments)):
        moved = [part.cpu() if k == place else part for k, part in enumerate(arguments)]
        with pytest.raises(RuntimeError, match='is on another device than the first tensor'):
            operator(*moved)


@needs_two
@pytest.mark.parametrize('name', CASES)
def test_the_current_device_may_be_another(name) -> None:
    function, parts = CASES[name]()
    wanted = gradients(function, as_arguments(parts, torch.float32))
    with torch.cuda.device(0):
        assert_near(gradients(function, as_arguments(parts, torch.float32, 'cuda:1')), wanted, 1e-5)


@needs_two
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_where_the_current_device_is_another(name) -> None:
    run, parts = suppression(name)
    wanted = run(*(part.to(DEVICE) for part in parts))
    with torch.cuda.device(0):
        assert torch.equal(run(*(part.to('cuda:1') for part in parts)).cpu(), wanted.cpu())


@needs_gpu
@pytest.mark.parametrize('name', ['ms_deform_attn', 'fused, rotated boxes', 'warp, affine', 'box_iou_rotated'])
def test_compiles_whole(name) -> None:
    function, parts = CASES[name]()
    arguments = as_arguments(parts, torch.float32)
    compiled = torch.compile(function, fullgraph=True)
    assert_near(gradients(compiled, arguments), gradients(function, arguments), 1e-5)
