"""A config made ready for distorted images."""

from pathlib import Path

import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from stn_det.apis import load_config
from stn_det.apis.distortion_model import BenchmarkModel, check_same_truth, level_config, prepare_model
from stn_det.apis.distortion_plan import Settings
from stn_det.errors import ConfigError, InputError


def prepare(config: str | Path | Config, checkpoint: Path, name: str = 'a', **kwargs) -> BenchmarkModel:
    options = kwargs.pop('cfg_options', None)
    return prepare_model(config, checkpoint, name, Settings(**kwargs), options)


def test_one_step_is_put_behind_the_loading(scene_config: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    model = prepare(scene_config, small_checkpoint)
    cfg = level_config(model, 'rotation', 30.0, (0.0, 30.0), Settings(seed=4), tmp_path)
    steps = cfg.test_dataloader.dataset.pipeline
    plain = load_config(scene_config).test_dataloader.dataset.pipeline
    assert [step.type for step in steps[:2]] == ['LoadCheckedImage', 'DistortImage']
    assert [step for step in steps if step.type != 'DistortImage'] == plain
    assert (steps[1].level, steps[1].levels, steps[1].seed) == (30, (0, 30), 4)
    # what DetDataPreprocessor pads with: its mean, in the order BGR of the loaded image
    assert steps[1].fill == {'img': [103.53, 116.28, 123.675]}
    assert [metric.type for metric in cfg.test_evaluator] == ['DOTAMetric', 'TruthMetric']
    assert cfg.load_from == str(small_checkpoint)
    assert model.num_images == 4
    assert 'DistortImage' not in model.cfg.pretty_text


def test_the_colour_of_padding(scene_config: Path, small_checkpoint: Path) -> None:
    options = {'model.data_preprocessor.bgr_to_rgb': False}
    assert prepare(scene_config, small_checkpoint, cfg_options=options).fill == {'img': [123.675, 116.28, 103.53]}
    cfg = load_config(scene_config)
    cfg.model.data_preprocessor.pad_value = 1
    assert prepare(cfg, small_checkpoint).fill['img'][0] == pytest.approx(103.53 + 57.375)
    cfg.model.data_preprocessor.update(mean=None, std=None, pad_value=7)
    assert prepare(cfg, small_checkpoint).fill == {'img': [7.0]}
    cfg.model = dict(type='Wrapper', detector=load_config(scene_config).model)
    assert prepare(cfg, small_checkpoint).fill == {'img': [103.53, 116.28, 123.675]}


def test_images_are_drawn_by_the_seed(scene_config: Path, small_checkpoint: Path) -> None:
    def drawn(**kwargs) -> list[str]:
        return prepare(scene_config, small_checkpoint, **kwargs).truth[0]

    assert len(drawn(max_images=2)) == 2
    assert drawn(max_images=2) == drawn(max_images=2)
    assert len({tuple(drawn(max_images=2, seed=seed)) for seed in range(3)}) > 1
    assert drawn(max_images=9) == drawn() == [f'P{number:05d}.png' for number in range(4)]
    model = prepare(scene_config, small_checkpoint, max_images=2, seed=1)
    cfg = level_config(model, 'rotation', 0.0, (0.0,), Settings(max_images=2, seed=1), Path('w'))
    assert [f'P{number:05d}.png' for number in cfg.test_dataloader.dataset.indices] == model.truth[0]


def test_a_subset_of_a_subset(scene_config: Path, small_checkpoint: Path) -> None:
    cfg = load_config(scene_config)
    cfg.test_dataloader.dataset.indices = [3, 1, 2]
    model = prepare(cfg, small_checkpoint, max_images=2)
    assert [f'P{number:05d}.png' for number in model.indices] == model.truth[0]


def test_digests_notice_what_matters(scene_config: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    first = prepare(scene_config, small_checkpoint).digests
    assert prepare(scene_config, small_checkpoint).digests == first
    other = prepare(scene_config, small_checkpoint, cfg_options={'model.test_cfg.score_thr': 0.1}).digests
    assert [name for name in first if first[name] != other[name]] == ['config']
    copy = tmp_path / 'copy.pth'
    copy.write_bytes(small_checkpoint.read_bytes())
    assert prepare(scene_config, copy).digests == first
    subset = prepare(scene_config, small_checkpoint, max_images=3).digests
    assert [name for name in first if first[name] != subset[name]] == ['data']


def test_models_with_other_data_are_not_compared(scene_config: Path, small_checkpoint: Path) -> None:
    first = prepare(scene_config, small_checkpoint)
    check_same_truth([first, prepare(scene_config, small_checkpoint, 'b')])
    with pytest.raises(InputError, match=r'a and b cannot be compared: their test data differ in images, labels. Give'):
        check_same_truth([first, prepare(scene_config, small_checkpoint, 'b', max_images=1)])
    cfg = load_config(scene_config)
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(3, dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')))
    with pytest.raises(InputError, match='differ in steps of the test pipeline that make the truth'):
        check_same_truth([first, prepare(cfg, small_checkpoint, 'b')])


def test_a_loader_of_a_second_image(
    scene_config: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LoadOther(LoadImageFromFile):
        image_keys = ('second_img',)

    cfg = load_config(scene_config)
    assert prepare(cfg, small_checkpoint).image_keys == ('img',)
    monkeypatch.setitem(TRANSFORMS.module_dict, 'LoadOther', LoadOther)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='LoadOther'))
    model = prepare(cfg, small_checkpoint)
    shifted = level_config(model, 'shift', 8.0, (0.0, 8.0), Settings(), Path('w'))
    steps = shifted.test_dataloader.dataset.pipeline
    assert [step.type for step in steps[:3]] == ['LoadCheckedImage', 'LoadOther', 'DistortImage']
    assert model.image_keys == steps[2].image_keys == ('img', 'second_img')


def test_configs_that_cannot_be_used(scene_config: Path, small_checkpoint: Path) -> None:
    cfg = load_config(scene_config)
    cfg.test_evaluator = dict(type='CocoMetric')
    with pytest.raises(ConfigError, match=r"is CocoMetric; the benchmark needs dict\(type='DOTAMetric'\)"):
        prepare(cfg, small_checkpoint)
    cfg.test_evaluator = [dict(type='DOTAMetric', format_only=True, outfile_prefix='x')]
    with pytest.raises(ConfigError, match='without format_only'):
        prepare(cfg, small_checkpoint)
    cfg = load_config(scene_config)
    cfg.test_dataloader.dataset.pipeline = [dict(type='PackDetInputs')]
    with pytest.raises(ConfigError, match='loads no image; expected a step such as LoadCheckedImage'):
        prepare(cfg, small_checkpoint)
    cfg.test_dataloader.dataset.pipeline = []
    with pytest.raises(ConfigError, match='no test_dataloader with a pipeline'):
        prepare(cfg, small_checkpoint)
