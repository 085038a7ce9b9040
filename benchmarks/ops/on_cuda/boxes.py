"""Overlaps and suppression of rotated boxes, and RoIAlign of rotated regions, on a GPU."""

import math

import torch
from torch import Tensor

from ops.on_cuda.attention import Peers
from ops.on_cuda.case import Case, Contender, Exact, differentiate
from ops.on_cuda.counts import Work
from ops.on_cuda.peers import installed
from ops.rotated import random_boxes
from stn_det import ops
from stn_det.ops.reference.box_iou_rotated import box_iou_rotated_reference
from stn_det.ops.reference.nms_rotated import nms_rotated_reference
from stn_det.ops.reference.roi_align_rotated import roi_align_rotated_reference

THRESHOLD = 0.1  # what configs for DOTA use
PLAIN = 'stn_det, plain PyTorch'


def overlap_case(count: int, device: str, peers: Peers) -> Case:
    """IoU of all pairs of random boxes on 1024 x 1024 pixels."""
    boxes, others = (random_boxes(count, seed=seed).to(device) for seed in (0, 1))
    leaves = {'boxes1': boxes, 'boxes2': others}

    def plain(first: Tensor, second: Tensor) -> Tensor:
        return box_iou_rotated_reference(first, second, False, 'iou')

    contenders = [Contender('stn_det', ops.box_iou_rotated, leaves)]
    contenders += installed(peers, {'mmcv, box_iou_rotated': (lambda call: call, leaves)})
    contenders.append(Contender(PLAIN, plain, leaves, captured=False))
    work = Work(bytes=4 * (boxes.numel() + others.numel() + count * count))
    return Case(contenders, lambda: differentiate(plain, leaves, None), {'forward': work})


def suppression_case(count: int, device: str, peers: Peers) -> Case:
    """Rotated NMS; the error is the part of the exactly kept boxes that is kept by only one of the two."""
    boxes = random_boxes(count).to(device)
    scores = torch.rand(count, generator=torch.Generator().manual_seed(2)).to(device)
    leaves = {'boxes': boxes, 'scores': scores}

    def owners(boxes: Tensor, scores: Tensor) -> Tensor:
        order = scores.argsort(descending=True, stable=True)
        return torch.ops.stn_det.nms_rotated(boxes, order, torch.zeros_like(order), THRESHOLD)

    def plain(boxes: Tensor, scores: Tensor) -> Tensor:
        return nms_rotated_reference(boxes, scores, THRESHOLD, None)

    def marked(kept: Tensor) -> Tensor:
        return torch.zeros(count, device=device).index_fill_(0, kept, 1)

    def owned(owner: Tensor) -> Tensor:
        return (owner == torch.arange(count, device=device)).float()

    contenders = [Contender('stn_det', lambda b, s: ops.nms_rotated(b, s, THRESHOLD), leaves, marked, captured=False)]
    if ops.status()['nms_rotated'] != 'python':
        contenders.append(Contender('stn_det, owners without their list', owners, leaves, owned))
    if call := peers['mmcv, nms_rotated'].call:
        contenders.append(Contender('mmcv', lambda b, s: call(b, s, THRESHOLD)[1], leaves, marked, captured=False))
    contenders.append(Contender(PLAIN, plain, leaves, marked, captured=False))

    def exact() -> Exact:
        kept = marked(plain(boxes.double(), scores.double()))
        return Exact(kept.double())

    return Case(contenders, exact, {'forward': Work()})


def roi_case(count: int, channels: int, size: int, dtype: torch.dtype, device: str, peers: Peers) -> Case:
    """Rotated RoIs of 32 to 256 image pixels a side, 7 x 7 bins of 2 x 2 points, on a map of stride 4."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, size, size, generator=generator).to(device, dtype)
    index = torch.randint(2, (count, 1), generator=generator)
    centre = 4 * size * torch.rand(count, 2, generator=generator)
    sides = 32 * torch.exp(math.log(8) * torch.rand(count, 2, generator=generator))
    theta = math.pi * (torch.rand(count, 1, generator=generator) - 0.5)
    rois = torch.cat([index, centre, sides, theta], 1).to(device)
    upright = torch.cat([index, centre - sides / 2, centre + sides / 2], 1).to(device, dtype)
    grad = torch.randn(count, channels, 7, 7, generator=generator).to(device, dtype)
    leaves = {'image': image}

    def plain(image: Tensor) -> Tensor:
        wide = torch.promote_types(image.dtype, torch.float32)
        return roi_align_rotated_reference(image, rois.to(wide), (7, 7), 0.25, 2, True, True)

    contenders = [Contender('stn_det', lambda x: ops.roi_align_rotated(x, rois, 7, 0.25, 2, True, True), leaves)]
    if rotated := peers['mmcv, roi_align_rotated'].call:
        narrow = rois.to(dtype)
        contenders.append(Contender('mmcv', lambda x: rotated(x, narrow, (7, 7), 0.25, 2, True, True), leaves))
    contenders.append(Contender(PLAIN, plain, leaves))
    if straight := peers['torchvision, roi_align'].call:
        name = 'torchvision roi_align, upright boxes'
        contenders.append(Contender(name, lambda x: straight(x, upright, 7, 0.25, 2, True), leaves, None))
    work = {name: Work() for name in ('forward', 'backward', 'both')}
    return Case(contenders, lambda: differentiate(plain, leaves, grad), work, grad)
