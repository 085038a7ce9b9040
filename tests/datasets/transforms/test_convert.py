"""Conversion of boxes in a sample."""

import pytest
import torch

from stn_det.datasets.transforms import ConvertBoxType
from stn_det.errors import ConfigError, InputError
from stn_det.structures import QuadriBoxes, RotatedBoxes


def test_round_trip_keeps_the_rectangle(make_sample):
    results = make_sample('rbox')
    before = results['gt_bboxes'].tensor.clone()
    results = ConvertBoxType(dict(gt_bboxes='qbox'))(results)
    assert isinstance(results['gt_bboxes'], QuadriBoxes)
    results = ConvertBoxType(dict(gt_bboxes='rbox'))(results)
    assert isinstance(results['gt_bboxes'], RotatedBoxes)
    assert torch.allclose(results['gt_bboxes'].tensor, before, atol=1e-4)


def test_errors(make_sample):
    with pytest.raises(
        ConfigError, match=r"box type 'obb' for 'gt_bboxes' is not registered, expected one of .*'rbox'"
    ):
        ConvertBoxType(dict(gt_bboxes='obb'))
    with pytest.raises(InputError, match=r"results\['boxes'\] is NoneType, expected boxes"):
        ConvertBoxType(dict(boxes='rbox'))(make_sample())
