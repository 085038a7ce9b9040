import numpy as np
import pytest
import torch

from stn_det.errors import InputError

BLUE = (86, 180, 233)


def draw(*args, **kwargs):
    from stn_det.visualization import draw_oriented_boxes

    return draw_oriented_boxes(*args, **kwargs)


def blank(height=200, width=300):
    return np.zeros((height, width, 3), dtype=np.uint8)


def touched(image):
    return image.any(axis=2)


class TestOutline:
    def test_lies_on_the_sides_of_the_box(self):
        box = [150.0, 100.0, 80.0, 40.0, 0.0]
        mask = touched(draw(blank(), [box], heading=False))
        rows, columns = np.nonzero(mask)
        assert (columns.min(), columns.max()) == pytest.approx((110, 190), abs=1.5)
        assert (rows.min(), rows.max()) == pytest.approx((80, 120), abs=1.5)
        assert not mask[90:110, 120:180].any()

    def test_is_drawn_between_pixel_centres_as_the_convention_says(self):
        # a box from 100.5 to 120.5 runs through the centres of pixels 100 and 120
        image = draw(blank(), [[110.5, 110.5, 20.0, 20.0, 0.0]], heading=False, thickness=1)
        profile = image[110, :, 2].astype(float)
        assert profile[100] == profile.max()
        assert profile[99] == pytest.approx(profile[101], abs=8)

    def test_angle_is_clockwise_on_screen(self):
        image = draw(blank(), [[150.0, 100.0, 120.0, 4.0, np.pi / 4]], heading=False)
        mask = touched(image)
        assert mask[135:140, 185:190].any()
        assert not mask[60:70, 180:190].any()

    def test_rbox_and_its_corners_look_alike(self):
        from stn_det.geometry import rbox_to_qbox
        from stn_det.structures import QuadriBoxes, RotatedBoxes

        boxes = torch.tensor([[150.0, 100.0, 80.0, 40.0, 0.6], [60.0, 60.0, 30.0, 20.0, -1.0]])
        expected = draw(blank(), boxes, heading=False)
        for same in (boxes.numpy(), RotatedBoxes(boxes), rbox_to_qbox(boxes), QuadriBoxes(rbox_to_qbox(boxes))):
            np.testing.assert_array_equal(draw(blank(), same, heading=False), expected)

    def test_heading_stands_out_at_the_front(self):
        box = [150.0, 100.0, 80.0, 40.0, 0.0]
        added = touched(draw(blank(), [box])) & ~touched(draw(blank(), [box], heading=False))
        rows, columns = np.nonzero(added)
        assert columns.min() >= 189
        assert abs(rows.mean() - 99.5) < 1
        turned = touched(draw(blank(), [[*box[:4], np.pi]])) & ~touched(draw(blank(), [box], heading=False))
        assert np.nonzero(turned)[1].max() <= 111

    def test_small_objects_stay_visible_in_large_images(self):
        image = draw(blank(3000, 3000), [[1500.0, 1500.0, 20.0, 10.0, 0.3]], heading=False)
        assert not touched(image)[1499:1502, 1497:1504].any()

    def test_thickness(self):
        thin, thick = (draw(blank(), [[150.0, 100.0, 80.0, 60.0, 0.2]], thickness=t).any(axis=2).sum() for t in (1, 4))
        assert thick > 2 * thin


class TestSafety:
    def test_the_image_is_not_changed(self):
        image = blank()
        draw(image, [[150.0, 100.0, 80.0, 40.0, 0.0]], [0], [0.5], ('ship',))
        assert not image.any()

    @pytest.mark.parametrize('boxes', [np.zeros((0, 5)), torch.zeros(0, 8), []])
    def test_no_boxes(self, boxes):
        assert not draw(blank(), boxes, np.zeros(0), np.zeros(0), ('ship',)).any()

    def test_boxes_that_are_not_finite_or_far_outside_or_flat(self):
        boxes = [[np.nan] * 5, [np.inf, 0, 1, 1, 0], [1e9, 1e9, 10, 10, 0], [50, 50, 0, 0, 0], [-40, 100, 30, 30, 1]]
        image = draw(blank(), boxes, [0] * 5, [0.5] * 5, ('ship',))
        assert image.shape == (200, 300, 3)

    def test_grey_images(self):
        assert draw(np.zeros((50, 60), np.uint8), [[30.0, 25.0, 20.0, 10.0, 0.3]]).shape == (50, 60, 3)

    def test_errors(self):
        with pytest.raises(InputError, match=r'image has shape \(5, 5, 3\) and dtype float64; expected'):
            draw(np.zeros((5, 5, 3)), [])
        with pytest.raises(InputError, match=r'boxes have shape \(1, 4\); expected'):
            draw(blank(), [[1, 2, 3, 4]])
        with pytest.raises(InputError, match='2 boxes came with 1 labels'):
            draw(blank(), np.ones((2, 5)), [0])


class TestColours:
    def test_by_class_and_palette(self):
        boxes = [[60.0, 100.0, 60.0, 60.0, 0.0], [220.0, 100.0, 60.0, 60.0, 0.0]]
        image = draw(blank(), boxes, [0, 1], text=False, thickness=3, heading=False)
        assert tuple(image[100, 30]) == BLUE
        assert tuple(image[100, 190]) == (230, 159, 0)
        image = draw(blank(), boxes, [0, 1], palette=[(1, 2, 3), (9, 8, 7)], text=False, thickness=3, heading=False)
        assert tuple(image[100, 190]) == (9, 8, 7)

    def test_the_best_score_is_on_top(self):
        boxes = [[100.0, 100.0, 60.0, 60.0, 0.0]] * 2
        image = draw(blank(), boxes, [0, 1], [0.9, 0.2], text=False, thickness=3, heading=False)
        assert tuple(image[100, 70]) == BLUE


class TestTexts:
    def test_label_is_beside_the_object(self):
        box = [[150.0, 100.0, 80.0, 40.0, 0.0]]
        bare = touched(draw(blank(), box, [0], text=False))
        added = touched(draw(blank(), box, [0], [0.87], ('ship',))) & ~bare
        rows, _ = np.nonzero(added)
        assert added.any()
        assert rows.max() < 80

    def test_labels_never_cover_objects_or_each_other(self):
        from stn_det.visualization.labels import label_size, occupancy, place_labels
        from stn_det.visualization.outlines import to_corners

        rng = np.random.default_rng(0)
        boxes = np.column_stack(
            [rng.uniform(0, 400, (120, 2)), rng.uniform(10, 60, (120, 2)), rng.uniform(-1.5, 1.5, 120)]
        )
        corners = to_corners(boxes)
        taken = occupancy(corners, 400, 400)
        objects = taken.copy()
        size = label_size('ship 0.87', 12)
        places = place_labels(corners, [size] * 120, taken, 3)
        seen = np.zeros((400, 400), int)
        for place in (p for p in places if p is not None):
            x, y = place
            seen[y : y + size[1], x : x + size[0]] += 1
            assert objects[y : y + size[1], x : x + size[0]].mean() <= 0.02
        assert 0 < sum(p is not None for p in places) < 120
        assert (seen > 1).sum() <= 0.02 * seen.sum()

    def test_crowds_get_a_legend_and_no_names(self):
        rng = np.random.default_rng(1)
        boxes = np.column_stack(
            [rng.uniform(150, 290, (150, 2)), rng.uniform(10, 14, (150, 2)), rng.uniform(-1.5, 1.5, 150)]
        )
        bare = touched(draw(blank(300, 300), boxes, np.zeros(150), text=False))
        added = touched(draw(blank(300, 300), boxes, np.zeros(150), classes=('ship',))) & ~bare
        rows, columns = np.nonzero(added)
        assert added[:40, :100].mean() > 0.3
        assert rows.max() < 60
        assert columns.max() < 150

    def test_without_labels_and_scores_there_is_no_text(self):
        box = [[150.0, 100.0, 80.0, 40.0, 0.0]]
        np.testing.assert_array_equal(draw(blank(), box), draw(blank(), box, text=False))

    def test_long_names_and_tiny_images(self):
        image = draw(blank(24, 24), [[12.0, 12.0, 10.0, 6.0, 0.3]], [0], [0.5], ('a-very-long-class-name' * 3,))
        assert image.shape == (24, 24, 3)


def test_shortened_text_keeps_both_ends():
    from stn_det.visualization.text import fit_text, text_mask

    short = fit_text('P1478__1__853___962', 14, 80)
    assert text_mask(short, 14).shape[1] <= 80
    assert short.startswith('P14')
    assert short.endswith('62')
    assert fit_text('abc', 14, 80) == 'abc'
    assert fit_text('abc', 14, 2) == ''


@pytest.mark.real_data
def test_a_real_image(real_data):
    import cv2

    image = cv2.imread(str(real_data / 'dota_samples' / 'images' / 'P1888.png'))[..., ::-1]
    lines = (real_data / 'dota_samples' / 'labelTxt' / 'P1888.txt').read_text().splitlines()
    corners = np.array([line.split()[:8] for line in lines if len(line.split()) > 8], dtype=float)
    drawn = draw(image, corners, np.zeros(len(corners)), classes=('vehicle',))
    assert drawn.shape == image.shape
    changed = (drawn != image).any(axis=2)
    assert 0.005 < changed.mean() < 0.2
