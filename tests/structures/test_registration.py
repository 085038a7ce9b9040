"""Box types and converters in mmdet's registry."""

import importlib
import sys

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, convert_box_type, get_box_type
from mmdet.structures.bbox.box_type import _box_type_to_name, box_converters, box_types

from stn_det.errors import InputError
from stn_det.structures import CONVERTERS, QuadriBoxes, RotatedBoxes
from stn_det.structures.registration import register_own_box

NAMES = ('hbox', 'rbox', 'qbox')


@pytest.fixture
def registry():
    """Puts mmdet's registry back after a test."""
    saved = [(table, dict(table)) for table in (box_types, _box_type_to_name, box_converters)]
    modules = {name: module for name, module in sys.modules.items() if name.startswith('stn_det.structures')}
    yield
    for table, content in saved:
        table.clear()
        table.update(content)
    sys.modules.update(modules)


def test_names():
    assert get_box_type('rbox') == ('rbox', RotatedBoxes)
    assert get_box_type('qbox') == ('qbox', QuadriBoxes)
    assert get_box_type(RotatedBoxes)[0] == 'rbox'


def test_every_pair_has_a_converter():
    assert {f'{a}2{b}' for a in NAMES for b in NAMES if a != b} <= set(box_converters)
    assert len(CONVERTERS) == 6


@pytest.mark.parametrize('source', NAMES)
@pytest.mark.parametrize('destination', NAMES)
def test_flat_boxes_convert_between_all_types(source, destination):
    flat = HorizontalBoxes([[10.0, 20.0, 40.0, 30.0]])
    boxes = flat.convert_to(source).convert_to(destination)
    assert type(boxes) is box_types[destination]
    assert torch.allclose(boxes.convert_to('hbox').tensor, flat.tensor, atol=1e-4)


def test_arrays_and_tensors_convert_too(rboxes):
    quads = convert_box_type(rboxes, src_type='rbox', dst_type='qbox')
    assert torch.equal(quads, RotatedBoxes(rboxes).convert_to('qbox').tensor)
    as_array = convert_box_type(rboxes.double().numpy(), src_type='rbox', dst_type='qbox')
    assert isinstance(as_array, np.ndarray)
    np.testing.assert_allclose(as_array, quads.numpy(), atol=1e-3)


def test_empty_boxes_convert():
    for source in NAMES:
        for destination in NAMES:
            boxes = box_types[source]([]).convert_to(destination)
            assert boxes.shape == (0, box_types[destination].box_dim)


def test_import_can_be_repeated(registry):
    for name in [name for name in sys.modules if name.startswith('stn_det.structures')]:
        del sys.modules[name]
    again = importlib.import_module('stn_det.structures')
    assert again.RotatedBoxes is not RotatedBoxes
    assert get_box_type('rbox')[1] is again.RotatedBoxes
    assert type(again.RotatedBoxes([[5.0, 5, 4, 2, 0]]).convert_to('qbox')) is again.QuadriBoxes


def test_a_name_of_another_package_is_not_taken(registry):
    class Intruder(BaseBoxes):
        pass

    Intruder.__module__ = 'elsewhere'
    box_types['rbox'] = Intruder
    with pytest.raises(InputError, match=r"'rbox' is already registered .* as elsewhere\..*Intruder, expected"):
        register_own_box('rbox')(RotatedBoxes)


def test_every_abstract_member_is_written():
    assert not RotatedBoxes.__abstractmethods__
    assert not QuadriBoxes.__abstractmethods__
