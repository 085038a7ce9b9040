"""Curves over the strength of distortions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stn_det.errors import InputError
from stn_det.visualization import DistortionPanel, plot_distortion_curves


def panel(**kwargs) -> DistortionPanel:
    settings = dict(title='Rotation', x_label='degrees', levels=(0, 90, 180), curves={'a': (0.9, 0.1, 0.8)})
    return DistortionPanel(**(settings | kwargs))


def size(path: Path) -> tuple[int, int]:
    image = cv2.imread(str(path))
    assert 0.01 < (image < 200).any(axis=2).mean() < 0.3
    return image.shape[:2]


def test_one_panel_a_family(tmp_path: Path) -> None:
    one = size(plot_distortion_curves([panel()], tmp_path / 'plots' / 'one.png'))
    two = size(plot_distortion_curves([panel(), panel()], tmp_path / 'two.png'))
    four = size(plot_distortion_curves([panel()] * 4, tmp_path / 'four.png'))
    assert one[0] == two[0] < four[0]
    assert one[1] < two[1] == four[1]


def test_gaps_references_and_factors(tmp_path: Path) -> None:
    panels = [
        panel(levels=(0.5, 1, 2), identity=1.0, logarithmic=True, reference=(1, 1, None)),
        panel(curves={'a': (0.9, None, 0.8), 'b': (None, None, None)}),
    ]
    assert size(plot_distortion_curves(panels, tmp_path / 'c.png', measure='AP50', reference='best'))


def test_every_model_has_a_colour_of_its_own_in_all_panels(tmp_path: Path) -> None:
    first = panel(curves={'a': (0.9, 0.9, 0.9)})
    second = panel(curves={'b': (0.5, 0.5, 0.5), 'a': (0.9, 0.9, 0.9)})
    image = cv2.imread(str(plot_distortion_curves([first, second], tmp_path / 'c.png')))
    pixels = image.reshape(-1, 3)
    saturated = pixels[np.ptp(pixels, axis=1) > 120]
    colors, counts = np.unique(saturated, axis=0, return_counts=True)
    assert (counts > 300).sum() == 2, colors[counts > 300]


@pytest.mark.parametrize('count', [1, 2, 9, 10, 13, 40])
def test_labels_of_the_axis_stay_legible(count: int) -> None:
    from stn_det.visualization.distortion_curves import _ticks

    levels = tuple(range(count))
    shown = _ticks(levels)
    assert 1 <= len(shown) <= 9
    assert shown[0] == 0
    assert set(shown) <= set(levels)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='got no panels'):
        plot_distortion_curves([], tmp_path / 'c.png')
    with pytest.raises(InputError, match="ends in 'bmp'"):
        plot_distortion_curves([panel()], tmp_path / 'c.bmp')
