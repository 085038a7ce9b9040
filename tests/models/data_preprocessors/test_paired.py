"""Normalisation and padding of two sensors."""

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from stn_det.errors import ConfigError, InputError
from stn_det.models import PairedDetDataPreprocessor

FIRST = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
SECOND = dict(mean=[90.0], std=[30.0])


def batch(*sizes, second_channels=1, dtype=torch.uint8):
    """A collated batch of pairs of ``sizes`` (height, width)."""
    return dict(
        inputs=[torch.randint(0, 256, (3, *size)).to(dtype) for size in sizes],
        second_inputs=[torch.randint(0, 256, (second_channels, *size)).to(dtype) for size in sizes],
        data_samples=[DetDataSample(metainfo=dict(img_shape=size)) for size in sizes],
    )


def build(**kwargs):
    return PairedDetDataPreprocessor(**{**dict(first=FIRST, second=SECOND, pad_size_divisor=32), **kwargs})


@pytest.mark.parametrize('training', [True, False])
def test_the_first_sensor_is_treated_as_by_mmdet(training):
    data = batch((40, 70), (64, 33))
    wanted = DetDataPreprocessor(**FIRST, pad_size_divisor=32)(batch((40, 70), (64, 33)) | data, training)
    found = build()(data, training)
    assert torch.equal(found['inputs'][0], wanted['inputs'])
    for ours, theirs in zip(found['data_samples'], wanted['data_samples']):
        assert ours.batch_input_shape == theirs.batch_input_shape == (64, 96)
        assert ours.pad_shape == theirs.pad_shape


def test_the_second_has_its_own_values_and_the_size_of_the_first():
    data = batch((40, 70), (64, 33), second_channels=4)
    second = build(second=dict(mean=[1.0, 2, 3, 4], std=[5.0, 6, 7, 8]), pad_value=-9)(data)['inputs'][1]
    assert second.shape == (2, 4, 64, 96)
    mean, std = torch.tensor([1.0, 2, 3, 4]).view(-1, 1, 1), torch.tensor([5.0, 6, 7, 8]).view(-1, 1, 1)
    assert torch.equal(second[0, :, :40, :70], (data['second_inputs'][0].float() - mean) / std)
    assert (second[0, :, 40:] == -9).all()
    assert (second[0, :, :, 70:] == -9).all()


def test_colours_are_reversed_for_one_sensor_alone():
    data = batch((32, 32), second_channels=3)
    first, second = build(first=dict(bgr_to_rgb=True), second=None)(data)['inputs']
    assert torch.equal(first[0], data['inputs'][0].float().flip(0))
    assert torch.equal(second[0], data['second_inputs'][0].float())


def test_stacked_inputs_and_no_samples():
    data = {key: torch.stack(batch((32, 64), (32, 64))[key]) for key in ('inputs', 'second_inputs')}
    found = build()(data)
    assert [tuple(part.shape) for part in found['inputs']] == [(2, 3, 32, 64), (2, 1, 32, 64)]
    assert found['data_samples'] is None


def test_sixteen_bits():
    data = batch((32, 32))
    data['second_inputs'] = [torch.full((1, 32, 32), 65535, dtype=torch.int32)]
    assert (build(second=dict(mean=[65000.0], std=[100.0]))(data)['inputs'][1] == 5.35).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    data = batch((32, 32))
    wanted = build()(data)['inputs']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert all(torch.equal(part, other) for part, other in zip(build()(data)['inputs'], wanted))
    found = build().to(dtype)(data)['inputs']
    for part, other in zip(found, wanted):
        assert part.dtype == dtype
        # mean and std are rounded to the type, and the result once more
        assert torch.allclose(part.float(), other, atol=0.05 if dtype == torch.bfloat16 else 0.005)


def test_boxes_become_tensors_unless_told_otherwise():
    def boxes(**kwargs):
        data = batch((32, 32))
        data['data_samples'][0].gt_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)))
        return build(**kwargs)(data)['data_samples'][0].gt_instances.bboxes

    assert isinstance(boxes(), torch.Tensor)
    assert isinstance(boxes(boxtype2tensor=False), HorizontalBoxes)


def test_it_is_registered():
    assert MODELS.get('PairedDetDataPreprocessor') is PairedDetDataPreprocessor


@pytest.mark.parametrize('missing', ['inputs', 'second_inputs'])
def test_a_missing_sensor(missing):
    data = batch((32, 32))
    del data[missing]
    with pytest.raises(InputError, match=f'the batch has no {missing}: one sensor is missing'):
        build()(data)
    with pytest.raises(InputError, match=f'the batch has no {missing}'):
        build()(batch((32, 32)) | {missing: []})


def test_pairs_that_do_not_fit():
    data = batch((32, 32), (64, 32))
    with pytest.raises(InputError, match='2 images of the first sensor and 1 of the second'):
        build()(data | dict(second_inputs=data['second_inputs'][:1]))
    with pytest.raises(InputError, match=r'pair 0 .* width \(32, 32\), the second \(64, 32\). WarpSecondLikeFirst'):
        build()(data | dict(second_inputs=data['second_inputs'][::-1]))


@pytest.mark.parametrize(
    'options', [dict(mean=[1.0], std=[1.0, 2]), dict(mean=[1.0], std=[0.0]), dict(mean=[], std=[])]
)
def test_bad_values(options):
    with pytest.raises(ConfigError, match=r'second: mean is .* std above 0'):
        build(second=options)


def test_channels_that_do_not_fit():
    with pytest.raises(ConfigError, match='bgr_to_rgb needs 3 channels, but mean has 4 values'):
        build(second=dict(mean=[0.0] * 4, std=[1.0] * 4, bgr_to_rgb=True))
    with pytest.raises(InputError, match='second sensor: an image has 1 channels, but mean and std have 3'):
        build(second=FIRST)(batch((32, 32)))
    with pytest.raises(InputError, match='bgr_to_rgb is True'):
        build(second=dict(bgr_to_rgb=True))(batch((32, 32)))
