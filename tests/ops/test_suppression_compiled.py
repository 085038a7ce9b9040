"""The compiled suppression: against the plain form, and as a citizen of torch.compile and torch.export."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stn_det.ops import _library, nms, nms_match, nms_quadri, nms_rotated, soft_nms
from stn_det.ops.quadri_iou import clean_hulls

pytestmark = pytest.mark.usefixtures('compiled')

PUBLIC = {'nms': nms, 'nms_rotated': nms_rotated, 'nms_quadri': nms_quadri}


def shapes(name: str, count: int, seed: int = 0, extent: float = 150.0) -> torch.Tensor:
    """Boxes or quads (count, 4 | 5 | 8) of 5 to 40 pixels."""
    generator = torch.Generator().manual_seed(seed)
    centre = extent * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    size = 5 + 35 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    if name == 'nms':
        return torch.cat([centre - size / 2, centre + size / 2], 1)
    if name == 'nms_rotated':
        return torch.cat([centre, size, 7 * torch.rand(count, 1, generator=generator, dtype=torch.float64)], 1)
    return centre.repeat(1, 4) + size.repeat(1, 4) * (torch.rand(count, 8, generator=generator) - 0.5)


def numbers(count: int, seed: int = 0) -> torch.Tensor:
    """Scores (count,), a fifth of them equal."""
    scores = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores[::5] = 0.5
    return scores


@pytest.fixture(params=PUBLIC)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the operators that return what is kept."""
    return request.param


def plainly(function, *arguments):
    """Result in plain PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_library, '_on_cpu', frozenset())
        return function(*arguments)


@pytest.mark.parametrize('threshold', [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize('num_labels', [None, 1, 5])
def test_agrees_with_the_plain_form(name, threshold, num_labels) -> None:
    boxes, scores = shapes(name, 700), numbers(700)
    labels = None if num_labels is None else torch.randint(0, num_labels, (700,)) * 10**11 - 7
    wanted = plainly(PUBLIC[name], boxes, scores, threshold, labels)
    assert PUBLIC[name](boxes, scores, threshold, labels).tolist() == wanted.tolist()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('count', [1, 7, 33, 257])
def test_other_dtypes_and_counts_that_fill_no_block(name, dtype, count) -> None:
    boxes, scores = shapes(name, count).to(dtype), numbers(count).to(dtype)
    wanted = plainly(PUBLIC[name], boxes, scores, 0.3)
    assert PUBLIC[name](boxes, scores, 0.3).tolist() == wanted.tolist()


@pytest.mark.parametrize(
    'spread', [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e6, 1.0)], ids=['column', 'row', 'point', 'line']
)
def test_boxes_on_a_line_or_a_point(name, spread) -> None:
    """Extents that leave nothing to divide by when boxes are laid along the curve."""
    step = shapes('nms', 200)[:, :2] * torch.tensor(spread)
    boxes = shapes(name, 1).repeat(200, 1)
    boxes = boxes + (
        torch.nn.functional.pad(step, (0, 3)) if name == 'nms_rotated' else step.repeat(1, boxes.shape[1] // 2)
    )
    wanted = plainly(PUBLIC[name], boxes, numbers(200), 0.4)
    assert PUBLIC[name](boxes, numbers(200), 0.4).tolist() == wanted.tolist()


@pytest.mark.parametrize('num_labels', [1, 7])
def test_thousands_of_boxes(name, num_labels) -> None:
    """A GPU decides 4096 of them at a time; the boxes of each part drop some of the parts after it."""
    boxes, scores = shapes(name, 4700, extent=600).float(), numbers(4700).float()
    labels = torch.arange(4700) * 7919 % num_labels
    wanted = plainly(PUBLIC[name], boxes, scores, 0.1, labels)
    assert 300 < wanted.numel() < 4600
    assert PUBLIC[name](boxes, scores, 0.1, labels).tolist() == wanted.tolist()


def test_order_of_the_labels_among_each_other_does_not_matter(name) -> None:
    boxes, order = shapes(name, 500).float(), numbers(500).argsort(descending=True, stable=True)
    labels = torch.arange(500) * 31 % 6 - 3
    run = getattr(torch.ops.stn_det, name)
    grouped = order[labels[order].argsort(stable=True)]
    assert torch.equal(run(boxes, grouped, labels, 0.2), run(boxes, order, labels, 0.2))


def test_chain_in_which_each_box_drops_the_next(name) -> None:
    """Every second box stays, and none can be decided before the one before it."""
    boxes = shapes(name, 1).repeat(300, 1)
    step = torch.arange(300)[:, None] * 3.0
    if name == 'nms_rotated':
        boxes[:] = torch.tensor([0.0, 0.0, 10.0, 5.0, 0.0])
        boxes[:, :1] += 2 * step
    elif name == 'nms':
        boxes[:] = torch.tensor([0.0, 0.0, 10.0, 5.0])
        boxes[:, ::2] += 2 * step
    else:
        boxes[:] = torch.tensor([0.0, 0.0, 10.0, 0.0, 10.0, 5.0, 0.0, 5.0])
        boxes[:, ::2] += 2 * step
    scores = torch.linspace(1, 0.1, 300)
    assert PUBLIC[name](boxes, scores, 0.2).tolist() == list(range(0, 300, 2))
    owner = getattr(torch.ops.stn_det, name)(boxes, torch.arange(300), torch.zeros(300, dtype=torch.int64), 0.2)
    assert owner.tolist() == [i - i % 2 for i in range(300)]


@pytest.mark.parametrize(('name', 'overlap'), [('nms_rotated', 'box_iou_rotated'), ('nms_quadri', 'quadri_iou')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_bits_of_the_overlap_decide(name, overlap, dtype) -> None:
    """A pair stays at a threshold of exactly its overlap, and loses one at the number before it."""
    boxes = shapes(name, 60, extent=30).to(dtype)
    if name == 'nms_quadri':
        boxes = clean_hulls(boxes)
    order, labels = torch.arange(2), torch.zeros(2, dtype=torch.int64)
    tested = 0
    for pair in boxes.view(30, 2, -1):
        exact = getattr(torch.ops.stn_det, overlap)(pair[:1], pair[1:], False, False)[0, 0]
        if exact == 0:
            continue
        tested += 1
        run = getattr(torch.ops.stn_det, name)
        assert run(pair, order, labels, exact.item()).tolist() == [0, 1]
        assert run(pair, order, labels, torch.nextafter(exact, torch.zeros_like(exact)).item()).tolist() == [0, 0]
    assert tested > 5


def test_one_box_that_covers_all(name) -> None:
    boxes = shapes(name, 300, extent=2000)
    boxes[170] = {4: torch.tensor([-99.0, -99, 2099, 2099]), 5: torch.tensor([1000, 1000, 2200, 2200, 0.1])}.get(
        boxes.shape[1], torch.tensor([-99.0, -99, 2099, -99, 2099, 2099, -99, 2099])
    )
    scores = numbers(300)
    scores[170] = 2
    for threshold in (0.0, 1e-4, 0.3):
        wanted = plainly(PUBLIC[name], boxes, scores, threshold)
        assert PUBLIC[name](boxes, scores, threshold).tolist() == wanted.tolist()


def test_what_is_not_finite_is_never_kept(name) -> None:
    boxes, scores = shapes(name, 90), numbers(90)
    boxes[3, 1], boxes[4, 0], boxes[5, 3], boxes[6, 2], scores[7] = math.nan, math.inf, -math.inf, 1e200, math.nan
    scores[8], scores[9] = math.inf, -math.inf
    keep = PUBLIC[name](boxes, scores, 0.2)
    assert keep.tolist() == plainly(PUBLIC[name], boxes, scores, 0.2).tolist()
    assert not set(keep.tolist()) & {3, 4, 5, 6, 7}
    assert keep[0] == 8


def test_mmcv_nms_rotated_ignores_labels(name) -> None:
    """mmcv: ``multi_label`` changes the row stride and compares no labels. Here equal boxes of two classes stay."""
    boxes = shapes(name, 1).repeat(4, 1)
    labels = torch.tensor([1, 0, 1, 0])
    assert PUBLIC[name](boxes, torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.5, labels).tolist() == [0, 1]
    assert PUBLIC[name](boxes, torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.5).tolist() == [0]


def test_mmcv_nms_rotated_suppresses_at_the_threshold_on_the_cpu_only() -> None:
    """mmcv: ``>=`` on the CPU and ``>`` on CUDA. Boxes whose IoU is the threshold, 1/4, both stay."""
    boxes = torch.tensor([[0, 0, 2, 2, 0], [0.5, 0.5, 1, 1, 0]])
    for turn in (0, math.pi / 2):
        boxes[:, 4] = turn
        overlap = torch.ops.stn_det.box_iou_rotated(boxes[:1], boxes[1:], False, False).item()
        assert overlap == pytest.approx(0.25, abs=1e-6)
        assert nms_rotated(boxes, torch.tensor([0.9, 0.8]), overlap).tolist() == [0, 1]
        assert nms_rotated(boxes, torch.tensor([0.9, 0.8]), overlap - 1e-6).tolist() == [0]


def test_mmcv_2621_and_detectron2_2154_equal_boxes_suppress_each_other() -> None:
    """An IoU of 1/3 for equal or nearly equal boxes kept both at any usual threshold."""
    twins = torch.tensor(
        [
            [0.0, 0.0, 180.6422271729, 136.3633728027, 0.9559648633],
            [0.0, 0.0, 180.6422271729, 136.3633728027, 0.9559648633],
            [296.6620178222656, 1458.73883056640625, 23.515729904174805, 47.677001953125, 0.00153504],
            [296.66201, 1458.73882, 23.51573, 47.67702, 0.00153503],
        ]
    )
    assert nms_rotated(twins, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.99).tolist() == [0, 2]


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_class_aware_is_the_union_of_the_classes_and_idempotent(name, seed, threshold) -> None:
    boxes, scores = shapes(name, 60, seed, extent=80).float(), numbers(60, seed).float()
    labels = torch.arange(60) % 3
    keep = PUBLIC[name](boxes, scores, threshold, labels)
    union = [
        index
        for label in range(3)
        for index in (labels == label)
        .nonzero()[:, 0][PUBLIC[name](boxes[labels == label], scores[labels == label], threshold)]
        .tolist()
    ]
    assert sorted(keep.tolist()) == sorted(union)
    assert scores[keep].tolist() == sorted(scores[keep].tolist(), reverse=True)
    assert PUBLIC[name](boxes[keep], scores[keep], threshold, labels[keep]).tolist() == list(range(keep.numel()))


@pytest.mark.parametrize('name', ['nms', 'nms_rotated'])
@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_best_box_drops_shrinks_as_the_threshold_grows(name, seed) -> None:
    """The number of kept boxes need not grow with the threshold, but the claims of the first box do shrink."""
    boxes, scores = shapes(name, 40, seed, extent=60).float(), numbers(40, seed).float()
    order = scores.argsort(descending=True, stable=True)
    claimed = set(range(40))
    for threshold in (0.0, 0.2, 0.4, 0.6, 1.0):
        owner = getattr(torch.ops.stn_det, name)(boxes, order, torch.zeros_like(order), threshold)
        now = set((owner == order[0]).nonzero()[:, 0].tolist())
        assert now <= claimed
        claimed = now
    assert claimed == {int(order[0])}


@pytest.mark.parametrize('count', [0, 1, 300])
def test_match_agrees_with_the_plain_form(count) -> None:
    dets = torch.cat([shapes('nms', count), numbers(count)[:, None]], 1)
    if count > 2:
        dets[1, 0] = math.nan
        dets[2, 4] = math.nan
    found, wanted = nms_match(dets, 0.2), plainly(nms_match, dets, 0.2)
    assert [group.tolist() for group in found] == [group.tolist() for group in wanted]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-14), (torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_soft_agrees_with_the_plain_form(method, dtype, tolerance) -> None:
    boxes, scores = shapes('nms', 500).to(dtype), numbers(500).to(dtype)
    boxes[3, 1], scores[4], scores[5] = math.nan, math.nan, 0.01
    for offset in (0, 1):
        dets, index = soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
        wanted, wanted_index = plainly(soft_nms, boxes, scores, 0.3, 0.5, 0.05, method, offset)
        assert index.tolist() == wanted_index.tolist()
        assert dets.dtype == dtype
        torch.testing.assert_close(dets, wanted, atol=tolerance, rtol=0)


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize(
    ('count', 'extent', 'least', 'dtype'),
    [(1025, 2000, 0.8, torch.float64), (1500, 60, 0.4, torch.float64), (2600, 300, 0.8, torch.float32)],
)
def test_soft_with_more_boxes_than_a_block_holds(method, count, extent, least, dtype) -> None:
    """A GPU keeps them in memory then, and copies those that are left several times. Some are equally good."""
    boxes, scores = shapes('nms', count, extent=extent).to(dtype), numbers(count).to(dtype)
    scores[1000:1020:2], boxes[7, 1], scores[count - 2] = 0.999, math.nan, math.nan
    dets, index = soft_nms(boxes, scores, 0.2, 0.5, least, method)
    wanted, wanted_index = plainly(soft_nms, boxes, scores, 0.2, 0.5, least, method)
    assert index.tolist() == wanted_index.tolist()
    assert index.numel() > 40
    torch.testing.assert_close(dets, wanted, atol=1e-13 if dtype == torch.float64 else 1e-5, rtol=0)


def test_soft_with_scores_that_are_infinite_or_all_dropped() -> None:
    boxes = shapes('nms', 30, extent=10)
    scores = numbers(30)
    scores[7], scores[8] = math.inf, -math.inf
    for least in (0.0, -math.inf, 5.0):
        index = soft_nms(boxes, scores, 0.3, 0.5, least)[1]
        assert index.tolist() == plainly(soft_nms, boxes, scores, 0.3, 0.5, least)[1].tolist()
    assert soft_nms(boxes, scores, min_score=math.inf)[1].tolist() == [7]
    assert soft_nms(boxes[:7], scores[:7], min_score=2.0)[0].shape == (0, 5)


def test_any_layout_empty_and_any_number_of_threads(checks, name) -> None:
    boxes, scores = shapes(name, 400).float(), numbers(800)[::2]
    keep = PUBLIC[name](boxes, scores, 0.3)
    assert torch.equal(PUBLIC[name](boxes.t().contiguous().t(), scores.clone(), 0.3), keep)
    assert PUBLIC[name](boxes[:0], scores[:0], 0.3).shape == (0,)
    checks.same_for_any_number_of_threads(lambda: [PUBLIC[name](boxes, scores, 0.3)])


@pytest.mark.parametrize(('shift', 'wrong'), [(1, '3'), (-1, '-1'), (1 << 40, '1099511627776')])
def test_order_beyond_the_boxes_is_refused_or_does_no_harm(shift, wrong) -> None:
    """Where the order cannot be read without waiting for a GPU, what it does not name takes no part."""
    boxes, order, message = torch.ones(3, 5), torch.arange(3), ''
    visits = order + shift
    named = [i for i in visits.tolist() if 0 <= i < 3]
    owner = torch.tensor([named[0] if i in named else -1 for i in range(3)])
    wanted = owner.clone()
    try:
        owner = torch.ops.stn_det.nms_rotated(boxes, visits, torch.zeros_like(order), 0.5)
    except RuntimeError as error:
        message = str(error)
    assert message == '' or f'order holds {wrong}, expected an index below 3' in message
    assert torch.equal(owner, wanted)


def test_wrong_arguments_are_refused_below_the_python_checks() -> None:
    boxes, order = torch.zeros(3, 5), torch.arange(3)
    with pytest.raises(RuntimeError, match=r'labels has to be int64 of shape \(3,\)'):
        torch.ops.stn_det.nms_rotated(boxes, order, order[:2], 0.5)
    with pytest.raises(RuntimeError, match=r'boxes has to be of shape \(count, 4\)'):
        torch.ops.stn_det.nms(boxes, order, order, 0.5)
    with pytest.raises(RuntimeError, match='method is 3, expected 0, 1 or 2'):
        torch.ops.stn_det.soft_nms(torch.zeros(3, 4), torch.zeros(3), 0.5, 0.5, 0.0, 3, 0)


def test_opcheck(name) -> None:
    boxes, scores = shapes(name, 20), numbers(20)
    order = scores.argsort(descending=True)
    torch.library.opcheck(getattr(torch.ops.stn_det, name).default, (boxes, order, order % 3, 0.3))
    boxes = shapes('nms', 20)
    torch.library.opcheck(torch.ops.stn_det.soft_nms.default, (boxes, scores, 0.3, 0.5, 0.1, 1, 0))


@pytest.mark.parametrize('operator', [*PUBLIC, 'soft_nms'])
def test_compiles_whole_and_exports(checks, operator) -> None:
    """How many boxes are kept depends on the data; torch.export captures that by itself, torch.compile when told."""
    boxes, scores = shapes('nms' if operator == 'soft_nms' else operator, 50).float(), numbers(50).float()

    def run(boxes, scores):
        return soft_nms(boxes, scores)[1] if operator == 'soft_nms' else PUBLIC[operator](boxes, scores, 0.3)

    whole = torch.compile(run, fullgraph=True, backend='aot_eager')
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        assert torch.equal(whole(boxes, scores), run(boxes, scores))
    with torch.no_grad():  # as the operators do themselves; otherwise the graph holds them one level down
        checks.exports(run, (boxes, scores), operator)


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, name, tmp_path) -> None:
    boxes, scores = shapes(name, 300), numbers(300)
    found = checks.portable(name, (boxes, scores, 0.3), tmp_path)
    assert torch.equal(found, PUBLIC[name](boxes, scores, 0.3))


@pytest.mark.usefixtures('cpu_only')
def test_portable_soft_suppression(checks, tmp_path) -> None:
    boxes, scores = shapes('nms', 300), numbers(300)
    dets, index = checks.portable('soft_nms', (boxes, scores), tmp_path)
    assert torch.equal(index, soft_nms(boxes, scores)[1])
    torch.testing.assert_close(dets, soft_nms(boxes, scores)[0], atol=1e-13, rtol=0)
