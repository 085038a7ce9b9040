"""What comparisons of detectors share: runs of other settings are refused, figures are averaged, sizes counted."""

from pathlib import Path

import comparison
import pytest

from stn_det.apis import load_config

SCENES = 'oriented-point-le90_mobilenetv2_fpn_demo_scenes'
HIT_UAV = 'oriented-point-le90_mobilenetv2_fpn_12e_hit-uav-small'


def test_scenes_are_read_at_their_own_size_and_lists_are_cut() -> None:
    config = load_config(SCENES)
    comparison.fit(config, 'scenes', 5, 3)
    for part in ('train', 'val', 'test'):
        steps = [step for step in config[f'{part}_dataloader'].dataset.pipeline if step.type == 'Resize']
        assert [tuple(step.scale) for step in steps] == [(320, 320)]
    config = load_config(HIT_UAV)
    comparison.fit(config, 'hit-uav', 5, 3)
    assert [config[f'{part}_dataloader'].dataset.indices for part in ('train', 'val', 'test')] == [5, 3, 3]


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    comparison.claim(tmp_path / 'runs', {'epochs': 10})
    comparison.claim(tmp_path / 'runs', {'epochs': 10})
    with pytest.raises(SystemExit, match=r"holds runs with \{'epochs': 10\}, not \{'epochs': 12\}"):
        comparison.claim(tmp_path / 'runs', {'epochs': 12})


def test_means_over_seeds_and_extra_time() -> None:
    first = dict(AP50=0.5, AP75=0.2, mAP=0.3, seconds_train=60.0)
    second = dict(AP50=0.7, AP75=0.3, mAP=0.4, seconds_train=80.0)
    runs = {'plain': [first, second], 'stn-align': [second, second]}
    found = comparison.summary(runs, {'plain': 10.0, 'stn-align': 12.5})
    assert found['mean']['plain'] == pytest.approx(dict(AP50=0.6, AP75=0.25, mAP=0.35, seconds_train=70.0))
    assert found['extra_ms'] == {'plain': 0.0, 'stn-align': 2.5}
    sizes = {name: {'parameters_M': 2.5, 'gflops': 7.0} for name in runs}
    row = comparison.table({'runs': runs, 'sizes': sizes, **found}).splitlines()[1].split()
    percent = ['60.0', '(50.0', '70.0)', '25.0', '(20.0', '30.0)', '35.0', '(30.0', '40.0)']
    assert row == ['plain', *percent, '10.0', '70', '2.50', '7.0']
    assert comparison.summary({'stn-align': [first]}, {'stn-align': 12.5})['extra_ms'] is None


def test_figures_of_hit_uav_leave_out_the_rare_class() -> None:
    classes = ('Person', 'Car', 'Bicycle', 'OtherVehicle')
    metrics = {f'dota/{key}_{name}': 0.1 * i for key in comparison.FIGURES for i, name in enumerate(classes)}
    assert comparison.figures(metrics, 'hit-uav') == pytest.approx(dict(AP50=0.1, AP75=0.1, mAP=0.1))


def test_sizes_count_the_layers() -> None:
    config = load_config(SCENES)
    config.model.backbone.init_cfg = None
    found = comparison.sizes(config, (64, 96))
    small = comparison.sizes(config, (64, 64))
    assert found['parameters_M'] == small['parameters_M'] == pytest.approx(2.85, abs=0.3)
    assert found['gflops'] == pytest.approx(1.5 * small['gflops'], rel=0.02)
