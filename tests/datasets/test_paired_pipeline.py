"""Transforms that a pipeline of pairs may not hold."""

import pytest
from mmdet.datasets import transforms as mmdet_transforms

from stn_det.datasets.paired_pipeline import UNRECORDED, check_paired_pipeline
from stn_det.errors import ConfigError


def test_ordinary_pipelines_pass():
    check_paired_pipeline([])
    check_paired_pipeline([dict(type='Resize', scale=(5, 5)), dict(type='RandomFlip'), lambda results: results])
    check_paired_pipeline([dict(type='OnSecond', transforms=[dict(type='PhotoMetricDistortion')])])


@pytest.mark.parametrize(
    'pipeline',
    [
        [dict(type='Resize'), dict(type='RandomAffine')],
        [dict(type='mmdet.RandomAffine')],
        [dict(type=mmdet_transforms.RandomAffine)],
        [dict(type='RandomChoice', transforms=[[dict(type='Resize')], [dict(type='RandomAffine')]])],
        [dict(type='RandomApply', transforms=dict(type='RandomAffine'))],
        [mmdet_transforms.RandomAffine()],
    ],
    ids=['name', 'scope', 'class', 'lists', 'nested', 'built'],
)
def test_others_are_named(pipeline):
    with pytest.raises(ConfigError, match=r'RandomAffine: moves or mixes images .*Use Resize'):
        check_paired_pipeline(pipeline)


def test_the_names_are_those_of_mmdet():
    ours = {'OrientedMixUp', 'OrientedMosaic'}
    assert [name for name in UNRECORDED - ours if not hasattr(mmdet_transforms, name)] == []
