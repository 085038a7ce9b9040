"""What the benchmark of sensor shift makes of configs and curves."""

from pathlib import Path

import pytest
from sensor_shift import SIDE, VARIANTS, mean_curve, pair_config, recovered


def test_share_of_the_loss_recovered() -> None:
    curves = {
        'registered': {0.0: 0.8, 8.0: 0.4, 16.0: 0.8},
        'jitter': {0.0: 0.7, 8.0: 0.6, 16.0: 0.8},
        'aligned': {0.0: 0.7, 8.0: 0.7, 16.0: 0.8},
    }
    assert recovered(curves, 'registered') == {0.0: None, 8.0: pytest.approx(0.75), 16.0: None}
    assert recovered(curves, 'jitter') == {0.0: pytest.approx(0.0), 8.0: pytest.approx(0.5), 16.0: None}


def test_a_curve_is_the_mean_of_the_seeds() -> None:
    found = {
        'aligned (0)': [dict(level=0.0, mAP=0.6), dict(level=8.0, mAP=0.5)],
        'aligned (1)': [dict(level=0.0, mAP=0.8), dict(level=8.0, mAP=None)],
    }
    assert mean_curve('aligned', found, 2) == {0.0: pytest.approx(0.7), 8.0: pytest.approx(0.25)}


@pytest.mark.parametrize('variant', VARIANTS)
def test_variants_differ_in_what_their_names_say(tmp_path: Path, variant: str) -> None:
    config = pair_config(variant, tmp_path, tmp_path / 'weights.pth', 3, 5, 'translation')
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert ('JitterSecond' in steps) == (variant in ('jitter', 'aligned'))
    assert (config.model.get('sensors') == 'first') == (variant == 'first sensor')
    assert config.model.get('align', {}).get('family') == ('translation' if variant == 'aligned' else None)
    for part in ('train', 'val', 'test'):
        dataset = config[f'{part}_dataloader'].dataset
        assert {step.type: step for step in dataset.pipeline}['Resize'].scale == (SIDE, SIDE)
        assert dataset.data_root == f'{tmp_path.resolve()}/'
    assert (config.randomness.seed, config.train_cfg.max_epochs) == (3, 5)
    assert config.model.detector.backbone.init_cfg.checkpoint == str(tmp_path / 'weights.pth')
