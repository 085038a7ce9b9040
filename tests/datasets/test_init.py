"""The package imports nothing heavy by itself."""

import subprocess
import sys

import pytest

import stn_det.datasets


def test_importing_the_package_leaves_mmdet_and_torch_alone():
    code = (
        'import sys, stn_det.datasets; print([m for m in ("torch", "mmdet", "mmcv", "mmengine") if m in sys.modules])'
    )
    assert (
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
    )


def test_public_names_resolve():
    for name in stn_det.datasets.__all__:
        assert getattr(stn_det.datasets, name).__name__ == name
    assert dir(stn_det.datasets) == sorted(stn_det.datasets.__all__)
    with pytest.raises(AttributeError, match="no attribute 'DotaDataset'"):
        _ = stn_det.datasets.DotaDataset
