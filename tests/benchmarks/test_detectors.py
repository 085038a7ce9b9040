"""The benchmark of detectors: its configs exist and have the same backbone, pyramid, data and length."""

import detectors
import pytest

from stn_det.apis import load_config


@pytest.mark.parametrize('kind', ['scenes', 'hit-uav'])
@pytest.mark.parametrize('variant', detectors.VARIANTS)
def test_terms_are_equal(variant: str, kind: str) -> None:
    plain = load_config(detectors.stem('plain', kind))
    found = load_config(detectors.stem(variant, kind))
    for key in ('data_preprocessor', 'backbone'):
        assert found.model[key] == plain.model[key]
    assert found.model.neck.out_channels == plain.model.neck.out_channels
    for config in (plain, found):
        for scheduler in config.param_scheduler:
            scheduler.pop('eta_min', None)  # a share of the learning rate, which is each detector's own
    for key in ('train_dataloader', 'test_dataloader', 'test_evaluator', 'train_cfg', 'param_scheduler'):
        assert found[key] == plain[key]
