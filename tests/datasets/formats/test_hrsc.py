"""HRSC2016 label files: values, and errors that name file, object and field."""

import math

import pytest
import torch

from stn_det.datasets.formats import parse_hrsc
from stn_det.errors import AnnotationError
from stn_det.geometry import rbox_to_qbox

BOX = dict(mbox_cx=50, mbox_cy=40, mbox_w=20, mbox_h=10, mbox_ang=math.pi / 2)


def ship(more: str = '', **box: object) -> str:
    """XML of one ship; a field of None is left out."""
    fields = ''.join(f'<{key}>{value}</{key}>' for key, value in {**BOX, **box}.items() if value is not None)
    return f'<HRSC_Object><Class_ID>100000013</Class_ID>{more}{fields}</HRSC_Object>'


def file(*objects: str) -> str:
    """XML of a file."""
    return f'<HRSC_Image><Img_ID>1</Img_ID><HRSC_Objects>{"".join(objects)}</HRSC_Objects></HRSC_Image>'


def test_a_ship_that_points_down() -> None:
    (found,) = parse_hrsc(file(ship()), 'a.xml')
    assert found.corners == pytest.approx((55, 30, 55, 50, 45, 50, 45, 30))  # corner 3: (45, 50), as in conventions.md
    assert found[1:] == (0, 0, 'a.xml: object 1')


@pytest.mark.parametrize('theta', [-1.2, 0.0, 0.4, 3.0])
def test_corners_are_those_of_the_rotated_box(theta: float) -> None:
    (found,) = parse_hrsc(file(ship('<difficult>1</difficult>', mbox_ang=theta)), 'a.xml')
    expected = rbox_to_qbox(torch.tensor([[50.0, 40, 20, 10, theta]], dtype=torch.float64))[0]
    torch.testing.assert_close(torch.tensor(found.corners, dtype=torch.float64), expected)
    assert found.difficult == 1


def test_no_ships() -> None:
    assert parse_hrsc(file(), 'a.xml') == []
    assert parse_hrsc('<HRSC_Image/>', 'a.xml') == []


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('', r'a\.xml: not XML: .*Expected <HRSC_Image>'),
        (file(ship())[:-40], r'a\.xml: not XML: '),
        ('<annotation/>', r'a\.xml: the outermost element is <annotation>, expected <HRSC_Image>'),
        (file(ship(), ship(mbox_w=None)), r'a\.xml: object 2 has no <mbox_w>'),
        (file(ship(mbox_cx='inf')), "<mbox_cx> is 'inf', expected a finite number"),
        (file(ship(mbox_h=-3)), r'object 1: size is 20 x -3, expected no negative number'),
        (file(ship(mbox_ang=45)), r'object 1: <mbox_ang> is 45, expected radians'),
    ],
)
def test_corrupt_files(text: str, match: str) -> None:
    with pytest.raises(AnnotationError, match=match):
        parse_hrsc(text, 'a.xml')
