"""Images, and what a transformer makes of them."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import nn

from stn_det.geometry import rotation_matrix
from stn_det.geometry.warp import MatrixWarp
from stn_det.visualization import draw_transformer

SIZE = (60, 90)


class Turner(nn.Module):
    """Turns all images by an angle about their middle."""

    def __init__(self, angle):
        super().__init__()
        self.angle, self.modes = angle, []

    def estimate(self, images, features=None):
        self.modes.append(self.training)
        size = tuple(images.shape[2:])
        matrix = rotation_matrix(self.angle, (size[1] / 2, size[0] / 2))
        return MatrixWarp(matrix.expand(len(images), 3, 3), size), None, None


def make_model(angle=0.0, divisor=1):
    model = nn.Module()
    preprocessor = dict(type='mmdet.DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, pad_size_divisor=divisor)
    model.data_preprocessor = MODELS.build(preprocessor)
    model.transformer, model.features = Turner(angle), None
    return model


def make_samples(count=3):
    image = torch.full((3, *SIZE), 40, dtype=torch.uint8)
    image[0, 10:20, 10:40] = 250  # blue
    sample = DetDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0)))
    return [dict(inputs=image, data_samples=sample) for _ in range(count)]


def test_without_a_warp_the_rows_agree_but_for_the_grid():
    picture = draw_transformer(make_model(), make_samples(2), lines=2)
    above, below = picture[:60], picture[66:]
    assert picture.shape == (126, 186, 3)
    assert (picture[60:66] == 255).all()
    assert (above[15, 25] == (40, 40, 250)).all(), 'red, green, blue'
    assert (above[5:-5, 5:85] == below[5:-5, 5:85]).all()
    assert (below[0, :90] == 255).all(), 'the border of the grid'


def test_a_turn_is_seen_by_the_transformer_and_undone():
    """A quarter turn before, a quarter turn back: the lower row shows the image as it was."""
    square = [dict(sample, inputs=sample['inputs'][:, :, :60]) for sample in make_samples(1)]
    model = make_model(-np.pi / 2)
    picture = draw_transformer(model, square, turns=(90.0,), lines=2)
    upright = square[0]['inputs'].flip(0).permute(1, 2, 0).numpy()
    assert (np.rot90(upright, -1)[5:-5, 5:-5] == picture[5:55, 5:55]).all(), 'clockwise on screen'
    assert np.abs(picture[66:][5:-5, 5:-5].astype(int) - upright[5:-5, 5:-5]).max() <= 1


def test_padding_is_shown():
    assert draw_transformer(make_model(divisor=32), make_samples(1)).shape == (64 + 6 + 64, 96, 3)


def test_the_mode_of_the_model_is_left_alone():
    model = make_model().train()
    draw_transformer(model, make_samples(1))
    assert model.training
    assert model.transformer.modes == [False]
