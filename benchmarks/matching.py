"""Matching of a batch at once against mmdet's assigner image by image, and denoising by group against all at once.

    python benchmarks/matching.py [--device cuda] [--repetitions 9] [--threads 2] [--print-only]

Both sides compute the same costs (focal, Hausdorff, KLD) of the same predictions and must choose the same pairs, or
the script stops. Prints a table and writes ``benchmarks/results/matching_<device>.json``: median and quartiles in ms,
and the ratio of the medians.
"""

import argparse
import math
from collections.abc import Iterator
from functools import partial

import stn_det.register  # noqa: F401  mmdet can be imported only once the bridge stands

# isort: split
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from ops.case import Case, Run, measure
from record import write_record
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stn_det.models.task_modules import adaptive_denoising
from stn_det.ops import status

COSTS = [
    dict(type='FocalLossCost', weight=2.0),
    dict(type='HausdorffCost', weight=5.0),
    dict(type='GaussianCost', weight=5.0),
]
META = dict(img_shape=(1024, 1024))
CLASSES = 15
# images, layers (six and the encoder), queries, objects an image
MATCHING = ((2, 7, 300, 20), (2, 7, 900, 20), (2, 7, 900, 200), (1, 2, 900, 1000))
# images, queries, objects an image, groups of about 100 queries together
DENOISING = ((2, 900, 10, 10), (2, 900, 33, 3), (2, 900, 200, 1))


class Scene:
    """Predictions of which one an object is near it, the others anywhere.

    Args:
        problems: images by layers.
        images: that the problems repeat.
        queries, objects: of each.
        device: where they are.
    """

    def __init__(self, problems: int, images: int, queries: int, objects: int, device: str) -> None:
        truths = [
            InstanceData(bboxes=_boxes(objects).to(device), labels=torch.randint(CLASSES, (objects,), device=device))
            for _ in range(images)
        ]
        self.truths = truths * (problems // images)
        self.metas = [META] * problems
        self.scores = torch.randn(problems, queries, CLASSES, device=device) - 2
        self.boxes = _boxes(problems, queries).to(device)
        near = min(queries, objects)
        for boxes, truth in zip(self.boxes, self.truths):
            boxes[:near] = noisy(truth.bboxes[:near])


def noisy(boxes: Tensor) -> Tensor:
    """Boxes ``(..., 5)``, some pixels and a tenth of a radian off."""
    return boxes + torch.randn_like(boxes) * boxes.new_tensor([8.0, 8, 3, 3, 0.1])


def _boxes(*size: int) -> Tensor:
    scale = torch.tensor([1024.0, 1024, 80, 30, math.pi])
    return torch.rand(*size, 5) * scale + torch.tensor([0.0, 0, 20, 10, -math.pi / 2])


def matching_case(images: int, layers: int, queries: int, objects: int, device: str) -> Case:
    """Assignment of all layers of all images."""
    scene = Scene(images * layers, images, queries, objects, device)
    ours = TASK_UTILS.build(dict(type='BatchHungarianAssigner', match_costs=COSTS))
    theirs = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=COSTS))

    def one_by_one() -> list[Tensor]:
        return [
            theirs.assign(InstanceData(scores=scores, bboxes=boxes), truth, meta).gt_inds
            for scores, boxes, truth, meta in zip(scene.scores, scene.boxes, scene.truths, scene.metas)
        ]

    at_once = partial(ours.assign_batch, scene.scores, scene.boxes, scene.truths, scene.metas)
    for match, expected in zip(at_once(), one_by_one()):
        if not torch.equal(expected[match.queries], match.objects + 1) or (expected > 0).sum() != len(match.queries):
            raise RuntimeError('the two assigners choose different pairs')
    shape = f'{images} images x {layers} layers, {queries} queries, {objects} objects'
    return Case('matching', shape, device, _finished(device, {'batch': at_once, 'mmdet one by one': one_by_one}))


def denoising_case(images: int, queries: int, objects: int, groups: int, device: str) -> Case:
    """Which denoising queries of a batch win their objects."""
    scene = Scene(images, images, queries, objects, device)
    assigner = TASK_UTILS.build(dict(type='BatchHungarianAssigner', match_costs=COSTS))
    boxes = torch.stack([torch.stack([noisy(truth.bboxes) for _ in range(groups)]) for truth in scene.truths])
    scores = torch.randn(*boxes.shape[:3], CLASSES, device=device)

    def block_diagonal() -> Tensor:
        won = torch.zeros(boxes.shape[:3], dtype=torch.bool)
        for image, (truth, meta) in enumerate(zip(scene.truths, scene.metas)):
            blocks = []
            for group in range(groups):
                queries_of_group = InstanceData(
                    scores=torch.cat([scores[image, group], scene.scores[image]]),
                    bboxes=torch.cat([boxes[image, group], scene.boxes[image]]),
                )
                blocks.append(assigner.cost_matrix(queries_of_group, truth, meta))
            allowed = torch.block_diag(*[torch.ones_like(block) for block in blocks])
            whole = torch.where(allowed > 0, torch.block_diag(*blocks), torch.inf)
            rows, columns = map(torch.from_numpy, linear_sum_assignment(whole.cpu()))
            own = columns[rows % (objects + queries) == columns % objects]
            won[image].view(-1)[own] = True
        return won.to(device)

    by_group = partial(
        adaptive_denoising, assigner, scene.scores, scene.boxes, scores, boxes, scene.truths, scene.metas
    )
    if not torch.equal(by_group(), block_diagonal()):
        raise RuntimeError('groups alone and all at once choose different pairs')
    shape = f'{images} images, {queries} queries, {groups} groups of {objects} objects'
    runs = _finished(device, {'by group': by_group, 'block-diagonal': block_diagonal})
    return Case('adaptive denoising', shape, device, runs)


def _finished(device: str, runs: dict[str, Run]) -> dict[str, Run]:
    """The same, each waiting for the device at its end."""

    def wait(run: Run) -> None:
        run()
        if device == 'cuda':
            torch.cuda.synchronize()

    return {name: partial(wait, run) for name, run in runs.items()}


def cases(device: str) -> Iterator[Case]:
    """All that is measured."""
    yield from (matching_case(*sizes, device) for sizes in MATCHING)
    yield from (denoising_case(*sizes, device) for sizes in DENOISING)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--repetitions', type=int, default=9)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--print-only', action='store_true', help='write no record')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []
    print('| what | sizes | ours, ms | against | ms | ratio |\n|---|---|---|---|---|---|')
    for case in cases(arguments.device):
        row = measure(case, arguments.repetitions)
        rows.append(row)
        (_, ours), (name, other) = row['times'].items()
        print(
            f'| {case.operator} | {case.shape} | {ours["median_ms"]:.4g} | {name} | {other["median_ms"]:.4g} '
            f'| {row["ratio_to_ours"][name]:.2f} |',
            flush=True,
        )
    if not arguments.print_only:
        record = {'implementations': status(), 'repetitions': arguments.repetitions, 'rows': rows}
        print(write_record(f'matching_{arguments.device}', record))


if __name__ == '__main__':
    main()
