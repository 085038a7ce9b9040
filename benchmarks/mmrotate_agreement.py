"""Models of mmrotate on the operators of this package, against the same models on a compiled mmcv.

    python benchmarks/mmrotate_agreement.py record work_dirs/bridge.pt     # in an environment without compiled mmcv
    python benchmarks/mmrotate_agreement.py record work_dirs/compiled.pt   # in one with it, stn_det on the PYTHONPATH
    python benchmarks/mmrotate_agreement.py compare work_dirs/bridge.pt work_dirs/compiled.pt

Both need ``onedl-mmrotate``. Every model starts from the same random weights and gets the same images and boxes; the
losses of a training step, the gradient of the first layer and the predictions of an image are recorded. ``compare``
prints the largest differences, of losses and gradients relative to the largest number, and writes
``benchmarks/results/mmrotate_agreement.json``.
"""

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import torch
from record import write_record

MODELS = {
    'Rotated RTMDet': 'rotated_rtmdet/rotated_rtmdet_tiny-3x-dota.py',
    'Oriented R-CNN': 'oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py',
    'S2A-Net': 's2anet/s2anet-le135_r50_fpn_1x_dota.py',
}
SIZE = 256


def stand_in_for_torchvision() -> None:
    """mmrotate imports one function of torchvision for a detector that is not used here."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        names = ('torchvision', 'torchvision.transforms', 'torchvision.transforms.functional')
        modules = {name: types.ModuleType(name) for name in names}
        modules[names[0]].__version__ = '0.0.0'
        modules[names[-1]].rotate = None
        sys.modules.update(modules)


def build(config: str) -> torch.nn.Module:
    """A model of mmrotate with random weights, ready to train or predict."""
    import mmrotate
    from mmdet.utils import register_all_modules as register_mmdet
    from mmengine.config import Config
    from mmengine.registry import MODELS as REGISTRY
    from mmrotate.utils import register_all_modules

    register_mmdet(init_default_scope=False)
    register_all_modules(init_default_scope=True)
    settings = Config.fromfile(Path(mmrotate.__file__).parent / '.mim' / 'configs' / config).model
    settings.backbone.init_cfg = None
    torch.manual_seed(0)
    model = REGISTRY.build(settings)
    with torch.no_grad():  # biases of the classifiers are -4.6: nothing would be found
        for name, parameter in model.named_parameters():
            if 'cls' in name and parameter.dim() == 1 and 'bn' not in name:
                parameter.zero_()
    return model


def samples() -> tuple[torch.Tensor, list]:
    """Two images and their oriented boxes.

    The boxes are about as large as the smallest anchors, 32 pixels. Where one lies whole inside another, the overlaps
    with several anchors are equal but for rounding, and rounding decides to how many of them the assigner gives a box.
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    from mmrotate.structures.bbox import RotatedBoxes

    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    batch = []
    for _ in range(2):
        boxes = torch.rand(12, 5, generator=generator) * torch.tensor([160, 160, 8, 5, 1.5])
        boxes += torch.tensor([48, 48, 36, 26, -0.75])
        labels = torch.randint(15, (12,), generator=generator)
        shape = {'img_shape': (SIZE, SIZE), 'ori_shape': (SIZE, SIZE), 'batch_input_shape': (SIZE, SIZE)}
        sample = DetDataSample(metainfo={**shape, 'pad_shape': (SIZE, SIZE), 'scale_factor': (1.0, 1.0)})
        sample.gt_instances = InstanceData(bboxes=RotatedBoxes(boxes), labels=labels)
        sample.ignored_instances = InstanceData(bboxes=RotatedBoxes(boxes[:0]), labels=labels[:0])
        batch.append(sample)
    return images, batch


def training_outputs(model: torch.nn.Module, images: torch.Tensor, batch: list) -> dict[str, torch.Tensor]:
    """Losses and a gradient of one step; nothing where an operator of mmcv has no CPU implementation."""
    torch.manual_seed(0)
    try:
        losses = model(images, batch, mode='loss')
    except RuntimeError as error:
        if 'implementation for device cpu not found' not in str(error):
            raise
        print(error)
        return {}
    parts = {}
    for name, value in losses.items():
        values = [value] if isinstance(value, torch.Tensor) else value
        if 'loss' in name:
            parts[f'loss {name}'] = torch.stack([part.mean() for part in values])
    torch.cat(list(parts.values())).sum().backward()
    parts['gradient'] = next(p.grad for p in model.parameters() if p.grad is not None)
    return parts


def outputs_of(config: str) -> dict[str, torch.Tensor]:
    """Losses, a gradient and predictions of a model."""
    model = build(config)
    images, batch = samples()
    parts = training_outputs(model.train(), images, batch)
    model.eval()
    images, batch = samples()
    with torch.no_grad():
        found = model(images, batch, mode='predict')[0].pred_instances
    boxes = found.bboxes.tensor if hasattr(found.bboxes, 'tensor') else found.bboxes
    parts['predictions'] = torch.cat([boxes / SIZE, found.scores[:, None], found.labels[:, None]], 1)
    return {name: part.detach().clone() for name, part in parts.items()}


def record(path: Path) -> None:
    """Run all models and keep what they give."""
    stand_in_for_torchvision()
    import stn_det.mmcv_bridge

    status = stn_det.mmcv_bridge.status()
    print(f'bridge {status.state}: {status.reason}')
    results = {name: outputs_of(config) for name, config in MODELS.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state': status.state, 'results': results}, path)
    for name, parts in results.items():
        print(name, {key: tuple(part.shape) for key, part in parts.items()})


def difference_of_sets(rows: torch.Tensor, others: torch.Tensor) -> float | str:
    """Largest difference of rows and those they are nearest to: equal scores may stand in another order."""
    distance = torch.cdist(rows, others, p=float('inf'))
    nearest = distance.argmin(1)
    if nearest.unique().numel() < len(rows):
        return 'two rows are nearest to the same one'
    return distance.min(1).values.max().item()


def compare(first: Path, second: Path) -> None:
    """Print and write the largest differences."""
    ours, theirs = torch.load(first), torch.load(second)
    if (ours['state'], theirs['state']) != ('active', 'inactive'):
        states = f'{ours["state"]} in {first} and {theirs["state"]} in {second}'
        raise SystemExit(f'the bridge was {states}; expected active and inactive')
    rows: list[dict[str, Any]] = []
    for model, parts in ours['results'].items():
        for name, part in parts.items():
            other = theirs['results'][model].get(name)
            row: dict[str, Any] = {'model': model, 'output': name, 'shape': list(part.shape)}
            if other is None:
                row['difference'] = 'mmcv has no CPU implementation'
            elif part.shape != other.shape:
                row['difference'] = f'mmcv has {list(other.shape)}'
            elif name == 'predictions':
                row['difference'] = difference_of_sets(part.double(), other.double())
            else:
                row['difference'] = ((part - other).abs().max() / other.abs().max().clamp(min=1e-12)).item()
            rows.append(row)
            print('| ' + ' | '.join(str(value) for value in row.values()) + ' |')
    print(write_record('mmrotate_agreement', {'rows': rows}))


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('record').add_argument('path', type=Path)
    both = commands.add_parser('compare')
    both.add_argument('bridge', type=Path)
    both.add_argument('compiled', type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.command == 'record':
        record(arguments.path)
    else:
        compare(arguments.bridge, arguments.compiled)


if __name__ == '__main__':
    main()
