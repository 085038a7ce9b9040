"""Sampling points on an image: places, sizes, colours, boxes, zoom, errors."""

import math

import numpy as np
import pytest

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_qbox  # noqa: F401  loads torch before matplotlib's colours are asked for
from stn_det.visualization import QueryAttention, attention_sheet, class_colors, draw_query_attention

SIZE = (600, 800)
FAR = (-1e4, -1e4)


def query(points, weights, heads=1, **options):
    """One level, points shared out evenly over the heads."""
    shape = (heads, 1, len(points) // heads)
    settings = dict(points=np.reshape(points, (*shape, 2)), weights=np.reshape(weights, shape), reference=FAR)
    return QueryAttention(**{**settings, **options})


def grey():
    return np.full((*SIZE, 3), 120, np.uint8)


def changed(picture):
    return (picture != 120).any(-1)


def centre_of(mask):
    y, x = np.nonzero(mask)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def test_a_point_lies_where_it_was_sampled():
    for place in ((300.5, 200.5), (41.0, 570.25), (799.5, 0.5)):
        mask = changed(draw_query_attention(grey(), query([place], [1.0])))
        if place[0] < 790:
            assert centre_of(mask) == pytest.approx(place, abs=0.15)
        else:
            assert mask[0, 799]
            assert mask.sum() < 200


def test_area_follows_the_weight():
    areas = []
    for weight in (1.0, 0.25):
        # the far point holds the largest weight, so that both are on one scale
        large = np.full((2200, 2200, 3), 120, np.uint8)
        picture = draw_query_attention(large, query([(300, 200), FAR], [weight, 1.0]))
        areas.append(changed(picture).sum())
    radii = np.sqrt(np.array(areas) / math.pi) - 1  # without the rim
    assert radii[1] / radii[0] == pytest.approx(0.5, abs=0.04)


def test_the_largest_weight_is_on_top_and_yellow_the_least_dark():
    picture = draw_query_attention(grey(), query([(300, 200), (300, 200), (500, 200)], [1.0, 0.3, 0.0]))
    red, green, blue = picture[200, 300].astype(int)
    assert min(red, green) > 200
    assert blue < 80
    assert picture[200, 500].astype(int).sum() < 250
    again = draw_query_attention(grey(), query([(300, 200), (300, 200), (500, 200)], [0.3, 1.0, 0.0]))
    assert np.array_equal(picture, again)


def test_colours_of_heads():
    places = [(100, 300), (300, 300), (500, 300), (700, 300)]
    picture = draw_query_attention(grey(), query(places, [0.2, 0.2, 0.1, 0.2], heads=2), color_by='head')
    first, second = class_colors(2, avoid=((255, 255, 255),))
    assert [tuple(picture[300, x]) for x, _ in places] == [first, first, second, second]


def test_points_outside_and_that_are_no_numbers_are_left_out():
    places = [(-50.0, 10.0), (math.nan, 3.0), (math.inf, 3.0), (1e12, 3.0), (300.0, 1000.0)]
    assert not changed(draw_query_attention(grey(), query(places, [0.2] * 5))).any()


def test_weights_that_are_all_zero():
    assert changed(draw_query_attention(grey(), query([(300, 200)], [0.0]))).any()


def test_reference_is_dashed_and_box_is_solid():
    box = [400.0, 300, 300, 100, 0.0]
    dashed = draw_query_attention(grey(), query([FAR], [1.0], reference=box))
    solid = draw_query_attention(grey(), query([FAR], [1.0], box=box))
    top = slice(252, 548)  # of the upper side, at y = 250
    on_dashed = changed(dashed)[249:251, top].any(0).mean()
    assert 0.3 < on_dashed < 0.9
    assert changed(solid)[249:251, top].any(0).all()
    assert changed(solid)[300, 551:556].any()  # the tick at the front
    quad = [250.0, 250, 550, 250, 550, 350, 250, 350]
    assert np.array_equal(draw_query_attention(grey(), query([FAR], [1.0], box=quad)), solid)


def test_a_point_of_reference_is_a_cross():
    mask = changed(draw_query_attention(grey(), query([FAR], [1.0], reference=(300.5, 200.5))))
    assert centre_of(mask) == pytest.approx((300.5, 200.5), abs=0.15)
    assert not mask[198, 298]
    assert mask[200, 297:304].all()


def test_zoom_enlarges_what_holds_everything():
    image = grey()
    image[200, 300] = 255  # one white pixel below the point
    seen = query([(300.5, 200.5), (320.5, 200.5)], [0.0, 0.0], reference=(310, 200), box=[310.0, 200, 40, 20, 0.0])
    picture = draw_query_attention(image, seen, zoom=True)
    assert max(picture.shape) == 640
    # box 290..330 and margins of 0.15 * 40 + 2 pixels: 282..338 are 56 columns
    scale = 640 / 56
    assert picture.shape[0] == round(36 * scale)
    plain = draw_query_attention(grey(), seen, zoom=True)
    lit = (picture.astype(int) - plain).max(-1)
    y, x = np.nonzero(lit > 0.5 * lit.max())
    assert (x.mean() + 0.5) / scale + 282 == pytest.approx(300.5, abs=0.15)
    assert (y.mean() + 0.5) / scale + 182 == pytest.approx(200.5, abs=0.15)
    dark = (plain < 60).all(-1)  # rims of the points
    left = np.nonzero(dark[:, : round(28 * scale)])[1].mean()
    assert (left + 0.5) / scale + 282 == pytest.approx(300.5, abs=0.15)


def test_zoom_at_the_border_and_on_nothing():
    assert draw_query_attention(grey(), query([(0.0, 0.0)], [1.0]), zoom=True).shape == (640, 640, 3)
    nothing = query([(math.nan, 0.0)], [1.0], reference=(math.nan, 0.0))
    assert draw_query_attention(grey(), nothing, zoom=True).shape == (480, 640, 3)


def test_caption_and_legend_do_not_move_points():
    seen = query([(300, 200)], [1.0], caption='layer 5, query 12: ship 0.83')
    picture = draw_query_attention(grey(), seen)
    mask = changed(picture)
    assert mask[:10, :100].all()
    assert tuple(picture[2, 2]) != (120, 120, 120)
    assert centre_of(mask[100:300]) == pytest.approx((300, 100), abs=0.15)


def test_image_stays_as_it_was_and_may_be_grey():
    image = np.full(SIZE, 120, np.uint8)
    picture = draw_query_attention(image, query([(300, 200)], [1.0]))
    assert picture.shape == (*SIZE, 3)
    assert (image == 120).all()


def test_sheet():
    pictures = [np.full((10 + number, 20, 3), number, np.uint8) for number in range(4)]
    sheet = attention_sheet(pictures, columns=3)
    assert sheet.shape == (12 + 6 + 13, 20 * 3 + 2 * 6, 3)
    assert [sheet[0, x, 0] for x in (0, 20, 26, 52)] == [0, 255, 1, 2]
    assert [sheet[y, 0, 0] for y in (9, 10, 17, 18, 30)] == [0, 255, 255, 3, 3]
    assert sheet[20, 30, 0] == 255
    assert np.array_equal(attention_sheet(pictures[:1]), pictures[0])


def test_errors():
    with pytest.raises(ConfigError, match="color_by is 'level'; expected one of"):
        draw_query_attention(grey(), query([(3, 2)], [1.0]), color_by='level')
    for points, weights in ((np.zeros((2, 1, 3, 2)), np.zeros((2, 3))), (np.zeros((0, 1, 3, 2)), np.zeros((0, 1, 3)))):
        with pytest.raises(InputError, match=r'points have shape .* expected \(G, L, K, 2\) and \(G, L, K\)'):
            draw_query_attention(grey(), QueryAttention(points, weights, FAR))
    with pytest.raises(InputError, match='there is no picture'):
        attention_sheet([])
