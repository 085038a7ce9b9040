"""The benchmark of aligning necks: its configs exist, runs of other settings are refused, figures are averaged."""

from pathlib import Path

import align_necks
import pytest

from stn_det.apis import load_config


@pytest.mark.parametrize('kind', ['scenes', 'hit-uav'])
@pytest.mark.parametrize('variant', align_necks.VARIANTS)
def test_variants_differ_from_the_plain_detector_in_type_and_neck_only(variant: str, kind: str) -> None:
    plain = load_config(align_necks.stem('plain', kind)).to_dict()
    found = load_config(align_necks.stem(variant, kind)).to_dict()
    for config in (plain, found):
        del config['model']['neck'], config['model']['type']
    assert found == plain


def test_scenes_are_read_at_their_own_size_and_lists_are_cut() -> None:
    config = load_config(align_necks.stem('stn-align', 'scenes'))
    align_necks.fit(config, 'scenes', 5, 3)
    for part in ('train', 'val', 'test'):
        steps = [step for step in config[f'{part}_dataloader'].dataset.pipeline if step.type == 'Resize']
        assert [tuple(step.scale) for step in steps] == [(320, 320)]
    config = load_config(align_necks.stem('stn-align', 'hit-uav'))
    align_necks.fit(config, 'hit-uav', 5, 3)
    assert [config[f'{part}_dataloader'].dataset.indices for part in ('train', 'val', 'test')] == [5, 3, 3]


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    align_necks.claim(tmp_path / 'runs', {'epochs': 10})
    align_necks.claim(tmp_path / 'runs', {'epochs': 10})
    with pytest.raises(SystemExit, match=r"holds runs with \{'epochs': 10\}, not \{'epochs': 12\}"):
        align_necks.claim(tmp_path / 'runs', {'epochs': 12})


def test_means_over_seeds_and_extra_time() -> None:
    first = dict(AP50=0.5, AP75=0.2, mAP=0.3, seconds_train=60.0)
    second = dict(AP50=0.7, AP75=0.3, mAP=0.4, seconds_train=80.0)
    runs = {'plain': [first, second], 'stn-align': [second, second]}
    found = align_necks.summary(runs, {'plain': 10.0, 'stn-align': 12.5})
    assert found['mean']['plain'] == pytest.approx(dict(AP50=0.6, AP75=0.25, mAP=0.35, seconds_train=70.0))
    assert found['extra_ms'] == {'plain': 0.0, 'stn-align': 2.5}
    row = align_necks.table({'runs': runs, **found}).splitlines()[1].split()
    assert row == ['plain', '60.0', '(50.0', '70.0)', '25.0', '(20.0', '30.0)', '35.0', '(30.0', '40.0)', '10.0', '70']
    assert align_necks.summary({'stn-align': [first]}, {'stn-align': 12.5})['extra_ms'] is None


def test_figures_of_hit_uav_leave_out_the_rare_class() -> None:
    classes = ('Person', 'Car', 'Bicycle', 'OtherVehicle')
    metrics = {f'dota/{key}_{name}': 0.1 * i for key in align_necks.FIGURES for i, name in enumerate(classes)}
    assert align_necks.figures(metrics, 'hit-uav') == pytest.approx(dict(AP50=0.1, AP75=0.1, mAP=0.1))
