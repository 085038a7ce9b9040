"""The encoder: cells look from their own centres in every level; saved memory changes no gradient."""

import pytest
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from stn_det.models.layers import RotatedDeformableEncoder, record_sampling
from stn_det.models.layers.flat_levels import FlatLevels, Frame

LAYER = dict(
    self_attn_cfg=dict(embed_dims=16, num_heads=2, num_levels=2, num_points=2, dropout=0.0),
    ffn_cfg=dict(embed_dims=16, feedforward_channels=32, ffn_drop=0.0),
)


def levels() -> FlatLevels:
    """Two levels of a wide input."""
    generator = torch.Generator().manual_seed(0)
    return FlatLevels.join([torch.randn(2, 16, *size, generator=generator) for size in ((4, 6), (2, 3))], None)


def test_levels_are_joined_row_by_row() -> None:
    feats = [torch.arange(24.0).view(1, 1, 4, 6), 100 + torch.arange(6.0).view(1, 1, 2, 3)]
    joined = FlatLevels.join(feats, None)
    assert joined.tokens[0, :, 0].tolist() == [*range(24), *range(100, 106)]
    assert joined.spatial_shapes.tolist() == [[4, 6], [2, 3]]
    assert joined.level_start_index.tolist() == [0, 24]


def test_every_cell_looks_from_its_own_centre_in_every_level() -> None:
    encoder = RotatedDeformableEncoder(1, LAYER)
    torch.nn.init.zeros_(encoder.layers[0].self_attn.sampling_offsets.bias)
    with record_sampling(encoder) as records:
        encoder(levels(), torch.zeros(1, 30, 16))
    places = records['layers.0.self_attn'][0].locations
    assert torch.allclose(places, places[:, :, :1, :1, :1].expand_as(places))
    centres = places[0, :, 0, 0, 0]
    assert torch.allclose(centres[[0, 7, 23]], torch.tensor([[0.5 / 6, 0.125], [1.5 / 6, 0.375], [5.5 / 6, 0.875]]))
    assert torch.allclose(centres[[24, 29]], torch.tensor([[0.5 / 3, 0.25], [2.5 / 3, 0.75]]))


@pytest.mark.parametrize('num_cp', [1, 2])
def test_computing_again_gives_the_same_gradients(num_cp: int) -> None:
    def gradients(saved: int) -> list[Tensor]:
        torch.manual_seed(0)
        encoder = RotatedDeformableEncoder(2, LAYER, num_cp=saved)
        encoder(levels(), torch.ones(1, 30, 16)).tokens.square().sum().backward()
        return [weight.grad for weight in encoder.parameters()]

    for again, kept in zip(gradients(num_cp), gradients(0), strict=True):
        assert torch.allclose(again, kept, atol=1e-6)


def test_the_frame_of_samples_and_of_none() -> None:
    metas = [dict(img_shape=(90, 100, 3), batch_input_shape=(96, 128)), dict(img_shape=(96, 128))]
    samples = [DetDataSample(metainfo=meta) for meta in metas]
    feats = [torch.zeros(2, 4, 12, 16)]
    frame = Frame.of(samples, feats)
    assert frame.sizes == ((90, 100), (96, 128))
    assert frame.batch_shape == (96, 128)
    assert frame.img_shapes.tolist() == [[90, 100], [96, 128]]
    assert Frame.of(None, feats).sizes == ((12, 16), (12, 16))
