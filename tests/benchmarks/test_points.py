"""Where points lie, and points captured from a layer."""

from pathlib import Path

import pytest
import torch
from ops.on_cuda.attention import make_problem
from ops.on_cuda.points import PATTERNS, CapturePoints, Shape, draw, load

from stn_det import ops

SIZES = ((12, 20), (6, 10))
ENCODER = Shape('encoder', SIZES, None, 2, heads=4)


def pixel_offsets(pattern: str, shape: Shape = ENCODER) -> torch.Tensor:
    """Offsets of drawn queries, (N, Q, G, L, K, 2)."""
    return draw(shape, pattern, 'cpu').offsets


@pytest.mark.parametrize('pattern', PATTERNS)
def test_every_draw_is_the_same(pattern: str) -> None:
    assert torch.equal(pixel_offsets(pattern), pixel_offsets(pattern))


def test_initial_points_lie_on_rays() -> None:
    offsets = pixel_offsets('init')
    assert offsets.shape == (2, 12 * 20 + 6 * 10, 4, 2, 4, 2)
    largest = offsets.abs().amax(-1)
    assert torch.allclose(largest, torch.arange(1.0, 5).expand_as(largest), atol=1e-5)
    assert torch.allclose(offsets[0, 0, 0, 0, 0], torch.tensor([1.0, 0]))  # head 0 looks to the right
    assert torch.allclose(offsets[0, 0, 1, 0, 0], torch.tensor([0.0, 1]), atol=1e-6)  # head 1 of 4 down


def test_noise_is_two_pixels_wide() -> None:
    noise = pixel_offsets('init + 2 px') - pixel_offsets('init')
    assert noise.std().item() == pytest.approx(2, rel=0.02)
    assert pixel_offsets('reference + 2 px').std().item() == pytest.approx(2, rel=0.02)


def test_points_anywhere_fill_the_level() -> None:
    problem = make_problem(draw(ENCODER, 'anywhere', 'cpu'), torch.float32, 8)
    places = problem.locations
    assert 0 <= places.min() < 0.01
    assert 0.99 < places.max() <= 1
    assert places.std(dim=(0, 1, 2, 4)).sub(1 / 12**0.5).abs().max() < 0.02


def test_queries_of_an_encoder_are_the_centres_of_pixels() -> None:
    references = draw(ENCODER, 'init', 'cpu').references
    assert torch.allclose(references[1, 21, 0], torch.tensor([1.5 / 20, 1.5 / 12]))  # second row, second column
    assert torch.allclose(references[0, -1, 0], torch.tensor([9.5 / 10, 5.5 / 6]))
    assert torch.equal(references[:, :, 0], references[:, :, 1])


def test_names_tell_shapes_apart() -> None:
    assert Shape('R50 encoder', SIZES, None, 2).text == 'R50 encoder, N = 2'
    assert Shape('R50 encoder', SIZES, None, 2, 4, 64, 8).text == 'R50 encoder, N = 2, 4 heads of 64, 8 points'


@pytest.fixture
def attention_inputs() -> tuple[torch.Tensor, ...]:
    """Value, shapes, starts, references, offsets and logits."""
    problem = make_problem(draw(Shape('decoder', SIZES, 7, 1, heads=4), 'init + 2 px', 'cpu'), torch.float32, 8)
    queries = problem.queries
    return problem.value, problem.shapes, problem.starts, queries.references, queries.offsets, queries.logits


@pytest.mark.parametrize('fused', [False, True])
def test_a_capture_comes_back(attention_inputs: tuple[torch.Tensor, ...], fused: bool, tmp_path: Path) -> None:
    if ops.status()['ms_deform_attn_fused'] == 'python':
        pytest.skip('a capture notes compiled operators')
    value, shapes, starts, references, offsets, logits = attention_inputs
    places = references[:, :, None, :, None] + offsets / shapes.flip(1).float()[:, None]
    weights = logits.softmax(-1).view(offsets.shape[:-1])
    with CapturePoints() as capture:
        if fused:
            output = ops.ms_deform_attn_fused(*attention_inputs)
        else:
            output = ops.ms_deform_attn(value, shapes, starts, places, weights)
    assert len(capture.calls) == 1
    capture.save(tmp_path / 'points.pt', 0, 'a test')
    queries, source = load(tmp_path / 'points.pt', 'cpu')
    assert source == 'a test'
    again = ops.ms_deform_attn_fused(value, shapes, starts, queries.references, queries.offsets, queries.logits)
    assert torch.allclose(again, output, atol=1e-4)


def test_a_call_that_was_not_captured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='call 0 of 0 attentions'):
        CapturePoints().save(tmp_path / 'points.pt', 0, '')


@pytest.mark.parametrize('content', [{'weights': torch.zeros(1)}, torch.zeros(1)])
def test_a_file_without_points(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / 'points.pt')
    with pytest.raises(ValueError, match='expected spatial_shapes, sampling_locations'):
        load(tmp_path / 'points.pt', 'cpu')


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / 'points.pt').write_text('import this')
    with pytest.raises(ValueError, match='is no file of tensors'):
        load(tmp_path / 'points.pt', 'cpu')
