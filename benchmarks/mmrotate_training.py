"""Detectors of mmrotate and of this package trained side by side: same scenes, backbone, pyramid, epochs, optimiser.

    python benchmarks/mmrotate_training.py
    python benchmarks/mmrotate_training.py --detectors s2anet --seeds 1

S2A-Net, Oriented R-CNN and Rotated RTMDet. Each of mmrotate's runs on the operators that this package's bridge serves,
in a process of its own, because both packages register box types under the same names; its heads, losses, assigners and
samplers are those of its published config, its anchors have the sizes that ours have. Predictions of both are scored by
this package's metric. The time of a training step is taken apart from the trainings: the steps of both on the same
images, in turns of whole processes. Needs ``onedl-mmrotate``. Interrupt it when you like: the same command goes on. The
record is ``results/mmrotate_training.json``.
"""

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from comparison import FIGURES, claim, fit, made_scenes, tested
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmrotate_agreement import MODELS, stand_in_for_torchvision
from record import commit_of_training, training_seconds, write_record
from training import configure, trained

DETECTORS = {  # shipped config, and the name of mmrotate's in mmrotate_agreement.py
    's2anet': ('s2anet-le90_mobilenetv2_fpn_12e_scenes', 'S2A-Net'),
    'oriented-rcnn': ('oriented-rcnn-le90_mobilenetv2_fpn_12e_scenes', 'Oriented R-CNN'),
    'rtmdet': ('rotated-rtmdet_mobilenetv2_fpn_12e_scenes', 'Rotated RTMDet'),
}
CHANNELS, CLASSES = 96, 6
ROUNDS, STEPS, WARM = 3, 8, 3  # processes of each, steps timed in each, steps before them
HANDOVER = 'handover.pkl'


def main() -> None:
    """Trains and times both, or, called by itself in a new process, one of them."""
    options = command_line()
    if options.theirs or options.steps:
        file = options.theirs or options.steps
        settings = pickle.loads(file.read_bytes())
        (run_theirs if options.theirs else time_steps)(settings, file.parent)
        return
    folder = options.work_dir
    settings = {key: getattr(options, key) for key in ('train_images', 'val_images', 'epochs')}
    claim(folder, settings)
    commit = commit_of_training(folder)
    data = made_scenes(folder / 'data', options.train_images, options.val_images)
    weights = fetch_weights(folder)
    rows = {}
    for name in options.detectors:
        ours, theirs = [], []
        for seed in range(options.seeds):
            config = ready(name, data, weights, seed, options)
            ours.append(run_ours(config, folder / 'ours' / f'{name}_{seed}'))
            theirs.append(hand_over(config, name, seed, folder / 'mmrotate' / f'{name}_{seed}'))
        rows[name] = {'ours': ours, 'mmrotate': theirs, **compare_steps(config, name, folder / 'steps' / name)}
        print(line(name, rows[name]), flush=True)
    print(write_record(options.name, {**settings, 'commit_of_training': commit, 'detectors': rows}))


def command_line() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--detectors', nargs='+', choices=list(DETECTORS), default=list(DETECTORS))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/mmrotate_training'))
    parser.add_argument('--train-images', type=int, default=600)
    parser.add_argument('--val-images', type=int, default=150)
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--name', default='mmrotate_training', help='of the record')
    parser.add_argument('--theirs', type=Path, metavar='FILE', help=argparse.SUPPRESS)
    parser.add_argument('--steps', type=Path, metavar='FILE', help=argparse.SUPPRESS)
    return parser.parse_args()


def fetch_weights(folder: Path) -> Path:
    """ImageNet weights of the backbone."""
    from stn_det.apis.pretrained import fetch_mobilenetv2

    return fetch_mobilenetv2(folder / 'mobilenet_v2.pth').resolve()


def ready(name: str, data: Path, weights: Path, seed: int, options: argparse.Namespace) -> Config:
    """Our config of a detector, with data, seed and length put in."""
    config = configure(DETECTORS[name][0], data, weights, seed, options.epochs)
    fit(config, 'scenes', options.train_images, options.val_images)
    return config


def run_ours(config: Config, folder: Path) -> dict[str, float]:
    """Figures of our detector, trained where it is not yet."""
    metrics = tested(config, trained(config, folder))
    return {**{key: metrics[f'dota/{key}'] for key in FIGURES}, 'seconds_train': training_seconds(folder)}


def hand_over(config: Config, name: str, seed: int, folder: Path) -> dict[str, float]:
    """Figures of mmrotate's detector, trained in another process where it is not yet."""
    found = folder / 'predictions.pkl'
    if not found.is_file():
        call('--theirs', write_settings(config, name, folder, seed))
    metrics = score(config, pickle.loads(found.read_bytes()))
    return {**{key: metrics[f'dota/{key}'] for key in FIGURES}, 'seconds_train': training_seconds(folder)}


def write_settings(config: Config, name: str, folder: Path, seed: int = 0, whose: str = 'mmrotate') -> Path:
    """What another process needs to know: our config, and whose detector it is to build."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / HANDOVER
    file.write_bytes(pickle.dumps({'config': config.to_dict(), 'name': name, 'seed': seed, 'whose': whose}))
    return file


def call(option: str, file: Path) -> None:
    """This script with an option, in a new process."""
    subprocess.run([sys.executable, __file__, option, str(file)], check=True)


def score(config: Config, predictions: list[dict[str, Any]]) -> dict[str, float]:
    """Predictions against the truth of the validation images, by the metric of this package."""
    import stn_det.register  # noqa: F401

    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset, metric = DATASETS.build(config.val_dataloader.dataset), METRICS.build(config.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    by_name = {Path(found['img_path']).stem: found['pred_instances'] for found in predictions}
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        metric.process(None, [{**sample, 'pred_instances': by_name[Path(sample['img_path']).stem]}])
    return metric.evaluate(len(dataset))


def run_theirs(settings: dict[str, Any], folder: Path) -> None:
    """Train mmrotate's detector and write its predictions."""
    config = theirs(settings)
    config.work_dir, config.resume = str(folder), True
    config.test_evaluator = config.val_evaluator = dict(
        type='mmdet.DumpDetResults', out_file_path=str(folder / 'predictions.part.pkl')
    )
    runner = Runner.from_cfg(config)
    runner.train()
    runner.test()
    (folder / 'predictions.part.pkl').rename(folder / 'predictions.pkl')


def theirs(settings: dict[str, Any]) -> Config:
    """Data, schedule and backbone of our config, everything else of mmrotate's."""
    stand_in_for_torchvision()
    import mmrotate
    from mmdet.utils import register_all_modules as register_mmdet
    from mmrotate.utils import register_all_modules

    register_mmdet(init_default_scope=False)
    register_all_modules(init_default_scope=True)
    config = Config({key: value for key, value in settings['config'].items() if key != 'custom_imports'})
    published = Path(mmrotate.__file__).parent / '.mim' / 'configs' / MODELS[DETECTORS[settings['name']][1]]
    inner = config.model
    config.model = Config.fromfile(published).model
    config.model.backbone = {**inner.backbone, 'type': 'mmdet.MobileNetV2'}
    config.model.neck = {**inner.neck, 'type': 'mmdet.FPN'}
    config.model.data_preprocessor = {
        **inner.data_preprocessor, 'type': 'mmdet.DetDataPreprocessor', 'boxtype2tensor': False
    }  # fmt: skip
    HEADS[settings['name']](config.model, inner)
    config.optim_wrapper = {**config.optim_wrapper, 'type': 'OptimWrapper'}
    config.optim_wrapper.pop('dtype', None)
    config.custom_hooks, config.default_scope = [], 'mmrotate'
    for unused in ('visualizer', 'vis_backends'):
        config.pop(unused, None)
    config.default_hooks.pop('visualization', None)
    config.randomness = dict(seed=settings['seed'])
    for part in ('train', 'val', 'test'):
        dataset = config[f'{part}_dataloader'].dataset
        dataset.update(pipeline=pipeline(dataset.pipeline, part), type='DOTADataset')
        dataset.ann_file = without_heads(Path(dataset.data_root), dataset.ann_file)
    return config


def without_heads(data: Path, labels: str) -> str:
    """A copy of the label files without the two lines above the boxes, which mmrotate's reader takes for boxes."""
    copy = f'{Path(labels).parent}/boxes/'
    (data / copy).mkdir(exist_ok=True)
    for file in (data / labels).glob('*.txt'):
        lines = file.read_text().splitlines(keepends=True)
        (data / copy / file.name).write_text(''.join(row for row in lines if ':' not in row))
    return copy


def pipeline(steps: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """The same steps by the names that mmrotate's registry finds; a quarter turn is one of its random rotations."""
    names = {'LoadCheckedImage': 'mmdet.LoadImageFromFile', 'ConvertBoxType': 'ConvertBoxType'}
    result: list[dict[str, Any]] = []
    for step in steps:
        if step['type'] == 'FilterOrientedBoxes':
            continue  # scenes hold no boxes that it would drop
        if step['type'] == 'RandomQuarterTurn':
            turn = dict(type='RandomChoiceRotate', prob=step['prob'], angles=[90], rotate_type='mmrotate.Rotate')
            result.append(turn)
        elif step['type'] == 'LoadAnnotations' and part != 'train':
            continue  # truth is read by the process that scores
        else:
            result.append({**step, 'type': names.get(step['type'], f'mmdet.{step["type"]}')})
    return result


def s2anet(model: Config, ours: Config) -> None:
    """Levels, channels and anchors of ours in both of its heads."""
    anchors = ours.bbox_head.anchor_generator
    model.bbox_head_init.update(num_classes=CLASSES, in_channels=CHANNELS, feat_channels=CHANNELS)
    model.bbox_head_init.anchor_generator.update(strides=anchors.strides, scales=anchors.scales)
    for head in model.bbox_head_refine:
        head.update(num_classes=CLASSES, in_channels=CHANNELS, feat_channels=CHANNELS)
        head.frm_cfg.update(feat_channels=CHANNELS, strides=anchors.strides)
        head.anchor_generator.update(strides=anchors.strides)


def oriented_rcnn(model: Config, ours: Config) -> None:
    """Levels, channels, anchors and sizes of ours in both of its stages."""
    anchors = ours.rpn_head.anchor_generator
    model.rpn_head.update(in_channels=CHANNELS, feat_channels=CHANNELS)
    model.rpn_head.anchor_generator.update(strides=anchors.strides, scales=anchors.scales)
    extractor = ours.roi_head.bbox_roi_extractor
    model.roi_head.bbox_roi_extractor.update(
        out_channels=CHANNELS, featmap_strides=extractor.featmap_strides, finest_scale=extractor.finest_scale
    )
    fully = ours.roi_head.bbox_head.fc_out_channels
    model.roi_head.bbox_head.update(in_channels=CHANNELS, fc_out_channels=fully, num_classes=CLASSES)
    for part in (model.train_cfg, model.test_cfg):  # as many proposals and samples
        mine = ours.train_cfg if part is model.train_cfg else ours.test_cfg
        if 'rpn_proposal' in part:
            part.rpn_proposal.update(nms_pre=mine.rpn_proposal.nms_pre, max_per_img=mine.rpn_proposal.max_per_img)
            part.rcnn.sampler.num = mine.rcnn.sampler.num
            part.rpn.allowed_border = mine.rpn.allowed_border
        else:
            part.rpn.update(nms_pre=mine.rpn.nms_pre, max_per_img=mine.rpn.max_per_img)


def rtmdet(model: Config, ours: Config) -> None:
    """Classes, channels and one process: no norm across processes."""
    model.type = 'mmdet.SingleStageDetector'
    model.bbox_head.update(num_classes=CLASSES, in_channels=CHANNELS, feat_channels=CHANNELS, norm_cfg=dict(type='BN'))


HEADS = {'s2anet': s2anet, 'oriented-rcnn': oriented_rcnn, 'rtmdet': rtmdet}


def compare_steps(config: Config, name: str, folder: Path) -> dict[str, Any]:
    """Median milliseconds of a training step of both, whole processes taking turns."""
    times: dict[str, list[float]] = {'ours': [], 'mmrotate': []}
    for _ in range(ROUNDS):
        for whose, found in times.items():
            call('--steps', write_settings(config, name, folder / whose, whose=whose))
            found.extend(json.loads((folder / whose / 'times.json').read_text()))
    medians = {whose: round(statistics.median(found), 1) for whose, found in times.items()}
    return {'ms_per_step': medians, 'times_as_fast': round(medians['mmrotate'] / medians['ours'], 2)}


def time_steps(settings: dict[str, Any], folder: Path) -> None:
    """Milliseconds of training steps on the first images, without the time to load them."""
    if settings['whose'] == 'ours':
        import stn_det.register  # noqa: F401

        config = Config(settings['config'])
    else:
        config = theirs(settings)
    config.work_dir, config.log_level = str(folder), 'WARNING'
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.load_from = None
    runner = Runner.from_cfg(config)
    loader, model = runner.build_dataloader(config.train_dataloader, seed=0), runner.model
    runner._init_model_weights()
    for hook in runner.hooks:  # memory format, folded norms
        if type(hook).__name__ in ('ChannelsLastHook', 'FoldNormHook'):
            hook.before_run(runner)
    wrapper = runner.build_optim_wrapper(config.optim_wrapper)
    batches = [batch for batch, _ in zip(loader, range(WARM + STEPS))]
    model.train()
    found = []
    for batch in batches:
        start = time.perf_counter()
        model.train_step(batch, optim_wrapper=wrapper)
        found.append(1e3 * (time.perf_counter() - start))
    (folder / 'times.json').write_text(json.dumps(found[WARM:]))


def line(name: str, row: dict[str, Any]) -> str:
    """A row of text for a person who waits."""
    cells = [f'{name:14}']
    for whose in ('ours', 'mmrotate'):
        means = {key: 100 * statistics.fmean(run[key] for run in row[whose]) for key in FIGURES}
        figures = '  '.join(f'{key} {value:5.1f}' for key, value in means.items())
        cells.append(f'{whose}: {figures}  {row["ms_per_step"][whose]:.0f} ms a step')
    return '   '.join(cells)


if __name__ == '__main__':
    main()
