"""What each ingredient of the rotated detection transformer is worth: one added after the other, equal budget.

    python benchmarks/rotated_detr.py
    python benchmarks/rotated_detr.py --hit-uav data/hit_uav --variants one-stage denoising

In the order of the recipe: sampling along the axes of the image; turned with the box; costs and losses by the KLD and
the Hausdorff distance in pixels instead of L1 alone; an angle that goes around instead of one behind a sigmoid;
denoising, which completes the shipped config of Rotated DINO. Beside them a one-stage detector with the same backbone,
and options that are off in the config. On generated scenes, or on HIT-UAV's validation split (by capture date, see
``hit_uav.py``). Interrupt it when you like: the same command goes on. The records are ``results/rotated_detr.json`` and
``results/rotated_detr_hit-uav.json``.
"""

from typing import Any

from comparison import command_line, compare, kind_of

DINO, POINT = 'rotated-dino-le90_mobilenetv2', 'oriented-point-le90_mobilenetv2_fpn'
L1_COSTS = [dict(type='FocalLossCost', weight=2.0), dict(type='PeriodicBoxL1Cost', weight=5.0, seam=True)]

_NO_NOISE: dict[str, Any] = {'model.dn_cfg': None}
_SEAM = _NO_NOISE | {
    'model.bbox_head.box_state': dict(angle_mode='sigmoid'),
    'model.bbox_head.loss_angle': dict(_delete_=True, type='L1Loss', loss_weight=1.6),
}
_L1 = _SEAM | {'model.bbox_head.assigner.match_costs': L1_COSTS, 'model.bbox_head.loss_iou': None}
_UPRIGHT = _L1 | {'model.decoder.layer_cfg.cross_attn_cfg.rotate': False}

CHANGES: dict[str, dict[str, Any]] = {  # of the shipped config
    'one-stage': {},
    'axis-aligned': _UPRIGHT,
    'rotated': _L1,
    'kld, hausdorff': _SEAM,
    'periodic': _NO_NOISE,
    'denoising': {},
    'adaptive': {'model.bbox_head.adaptive_denoising': True},
    'union': {'model.bbox_head.union_matching': True},
}


def stem(variant: str, kind: str) -> str:
    """Name of the shipped config of a variant for 'scenes' or 'hit-uav'."""
    if variant == 'one-stage':
        return f'{POINT}_demo_scenes' if kind == 'scenes' else f'{POINT}_12e_hit-uav-small'
    return f'{DINO}_12e_{"scenes" if kind == "scenes" else "hit-uav-small"}'


def main() -> None:
    """Parses the command line; trains, measures, writes the record."""
    options = command_line(__doc__ or '', CHANGES)
    kind = kind_of(options)
    name = 'rotated_detr' if kind == 'scenes' else f'rotated_detr_{kind}'
    compare(options, {variant: stem(variant, kind) for variant in CHANGES}, name, CHANGES)


if __name__ == '__main__':
    main()
