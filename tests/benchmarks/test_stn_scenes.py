"""The benchmark of image transformers: variants differ in what their names say, figures are of the right classes."""

import pytest
import stn_scenes

from stn_det.apis import load_config

KINDS = ('scenes', 'hit-uav')


def _config(variant: str, kind: str) -> dict:
    return load_config(stn_scenes.VARIANTS[variant].format(stn_scenes.STEMS[kind])).to_dict()


@pytest.mark.parametrize('kind', KINDS)
def test_the_detector_is_the_same_in_all_variants(kind: str) -> None:
    plain = _config('plain', kind)
    for variant in ('rotate', 'stn', 'stn, rotate'):
        found = _config(variant, kind)
        detector = found['model'].pop('detector', None) or found['model']
        assert detector == plain['model']
        for key in ('train_cfg', 'param_scheduler', 'test_dataloader', 'val_evaluator'):
            assert found[key] == plain[key]
        assert found['optim_wrapper']['optimizer'] == plain['optim_wrapper']['optimizer']


@pytest.mark.parametrize('kind', KINDS)
def test_only_the_variants_named_so_turn_images_in_training(kind: str) -> None:
    for variant in stn_scenes.VARIANTS:
        steps = [step['type'] for step in _config(variant, kind)['train_dataloader']['dataset']['pipeline']]
        assert ('OrientedRandomRotate' in steps) == ('rotate' in variant)
        assert ('SetCamera' in steps) == (variant == 'stn, rotate')


@pytest.mark.parametrize('kind', KINDS)
def test_no_flip_turns_a_training_image_over(kind: str) -> None:
    for variant in stn_scenes.VARIANTS:
        for step in _config(variant, kind)['train_dataloader']['dataset']['pipeline']:
            assert step['type'] != 'RandomFlip' or step['direction'] == 'horizontal'


def test_figures_of_hit_uav_leave_out_the_rare_class() -> None:
    classes = {'Person': 0.1, 'Car': 0.2, 'Bicycle': 0.6, 'OtherVehicle': 0.9}
    levels = [{'level': 0.0, 'mAP': 0.45, 'classes': {'mAP': classes}}]
    assert stn_scenes.course(levels, 'hit-uav') == pytest.approx({'0': 0.3})
    assert stn_scenes.course(levels, 'scenes') == {'0': 0.45}


def test_the_mean_of_the_table_leaves_out_images_that_stand_upright() -> None:
    row = stn_scenes.table({'plain (0)': {'0': 0.9, '30': 0.2, '60': 0.4}}).splitlines()[1]
    assert row.split() == ['plain', '(0)', '90.0', '20.0', '40.0', '30.0']
