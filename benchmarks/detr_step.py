"""A training step of the rotated transformer: the fused operator, the same in plain PyTorch, and mmdet's own detector.

    python benchmarks/detr_step.py
    python benchmarks/detr_step.py --device cuda --size 1024 --batch 2

Time and peak memory of a step at the size of the paper: six layers each, 256 channels, 300 queries, four levels,
iterative refinement, two stages, behind a small backbone. Each form runs in processes of its own, which take turns, on
the same images and objects. mmdet's ``DeformableDETR`` is given the boxes around the oriented ones; its attention is
mmcv's, which without compiled operators is plain PyTorch on a CPU. The record is ``results/detr_step.json``.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from record import write_record

import stn_det.register  # noqa: F401

WIDTH, CLASSES, OBJECTS, QUERIES, LAYERS, LEVELS = 256, 15, 40, 300, 6, 4
ROUNDS, STEPS, WARM = 3, 5, 2  # processes of each form, steps timed in each, steps before them
ATTENTION = dict(embed_dims=WIDTH, num_levels=LEVELS)
FFN = dict(embed_dims=WIDTH, feedforward_channels=1024, ffn_drop=0.1)
COMMON = dict(
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=64),
    num_queries=QUERIES,
    num_feature_levels=LEVELS,
    with_box_refine=True,
    as_two_stage=True,
    backbone=dict(type='MobileNetV2', out_indices=(2, 4, 6)),
    neck=dict(
        type='ChannelMapper', in_channels=[32, 96, 320], kernel_size=1, out_channels=WIDTH, act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32), num_outs=LEVELS,
    ),
    positional_encoding=dict(num_feats=WIDTH // 2, normalize=True, offset=-0.5),
)  # fmt: skip


def ours(fused: bool) -> dict[str, Any]:
    """Rotated Deformable DETR."""
    attention = dict(**ATTENTION, fused=fused)
    layer = dict(
        self_attn_cfg=dict(embed_dims=WIDTH, num_heads=8, attn_drop=0.1), cross_attn_cfg=attention, ffn_cfg=FFN
    )
    return dict(
        **deepcopy(COMMON),
        type='RotatedDeformableDETR',
        encoder=dict(num_layers=LAYERS, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=FFN)),
        decoder=dict(num_layers=LAYERS, layer_cfg=layer),
        bbox_head=dict(
            type='RotatedDeformableDETRHead', num_classes=CLASSES, embed_dims=WIDTH,
            loss_angle=dict(type='PeriodicL1Loss'), loss_iou=dict(type='GaussianBoxLoss', distance='kld'),
        ),
    )  # fmt: skip


def mmdets() -> dict[str, Any]:
    """Deformable DETR as mmdet has it, for boxes along the axes."""
    layer = dict(self_attn_cfg=dict(embed_dims=WIDTH, num_heads=8, dropout=0.1, batch_first=True), ffn_cfg=FFN)
    costs = [
        dict(type='FocalLossCost', weight=2.0),
        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
        dict(type='IoUCost', iou_mode='giou', weight=2.0),
    ]
    return dict(
        **deepcopy(COMMON),
        type='DeformableDETR',
        encoder=dict(
            num_layers=LAYERS, layer_cfg=dict(self_attn_cfg=dict(**ATTENTION, batch_first=True), ffn_cfg=FFN)
        ),
        decoder=dict(
            num_layers=LAYERS, return_intermediate=True, post_norm_cfg=None,
            layer_cfg=dict(**layer, cross_attn_cfg=dict(**ATTENTION, batch_first=True)),
        ),
        bbox_head=dict(
            type='DeformableDETRHead', num_classes=CLASSES, sync_cls_avg_factor=True,
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0), loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        ),
        train_cfg=dict(assigner=dict(type='HungarianAssigner', match_costs=costs)),
    )  # fmt: skip


FORMS: dict[str, Callable[[], dict[str, Any]]] = {
    'fused': lambda: ours(True),
    'reference': lambda: ours(False),
    'mmdet': mmdets,
}


def main() -> None:
    """Times all forms, or, called by itself in a new process, one."""
    options = command_line()
    if options.form:
        print(json.dumps(measure(options)))
        return
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(ROUNDS):
        for form, results in found.items():
            results.append(called(form, options))
    rows = {form: row(results) for form, results in found.items()}
    for form, figures in rows.items():
        print(f'{form:10} {figures["ms_per_step"]:9.0f} ms a step {figures["peak_mb"]:8.0f} MB')
    settings = {'device': options.device, 'size': options.size, 'batch': options.batch, 'objects': OBJECTS}
    print(write_record(options.name, {**settings, 'forms': rows}))


def command_line() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda'")
    parser.add_argument('--size', type=int, default=512, help='of the images, pixels (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--name', default='detr_step', help='of the record')
    parser.add_argument('--form', choices=list(FORMS), help=argparse.SUPPRESS)
    return parser.parse_args()


def called(form: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a new process measures."""
    arguments = [f'--{key}={getattr(options, key)}' for key in ('device', 'size', 'batch')]
    command = [sys.executable, __file__, '--form', form, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(results: list[dict[str, Any]]) -> dict[str, float]:
    """Median step over all processes, mean peak."""
    times = [value for result in results for value in result['ms']]
    peak = statistics.fmean(result['peak_mb'] for result in results)
    return {'ms_per_step': round(statistics.median(times), 1), 'peak_mb': round(peak, 1)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of each step, and the most memory that was in use above what the model alone takes."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(FORMS[options.form]())
    model.init_weights()
    model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images, samples = batch(options, oriented=options.form != 'mmdet')
    before, times = peak_mb(options.device), []
    for _ in range(WARM + STEPS):
        start = time.perf_counter()
        loss, _ = model.parse_losses(model.loss(images, deepcopy(samples)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if options.device != 'cpu':
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return {'ms': times[WARM:], 'peak_mb': peak_mb(options.device) - before}


def peak_mb(device: str) -> float:
    """Most memory that this process has had in use so far, megabytes; of the GPU where it computes on one."""
    if device != 'cpu':
        return float(torch.cuda.max_memory_allocated() / 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def batch(options: argparse.Namespace, oriented: bool) -> tuple[torch.Tensor, list[DetDataSample]]:
    """Noise, and objects at random places."""
    generator = torch.Generator().manual_seed(1)
    size, samples = options.size, []
    images = torch.randn(options.batch, 3, size, size, generator=generator)
    for _ in range(options.batch):
        drawn = torch.rand(OBJECTS, 5, generator=generator)
        boxes = drawn * torch.tensor([size * 0.8, size * 0.8, 40, 15, 3.1]) + torch.tensor(
            [size * 0.1, size * 0.1, 20, 8, -1.5]
        )
        if not oriented:
            boxes = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
        labels = torch.randint(CLASSES, (OBJECTS,), generator=generator)
        shape = dict(img_shape=(size, size), batch_input_shape=(size, size), pad_shape=(size, size))
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels).to(options.device)
        samples.append(sample)
    return images.to(options.device), samples


if __name__ == '__main__':
    main()
