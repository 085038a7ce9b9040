"""The benchmark of aligning necks: its configs exist, and differ in the neck."""

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
