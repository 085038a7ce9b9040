"""The detectors of this package on equal terms: backbone, pyramid, epochs, resolution, seeds.

    python benchmarks/detectors.py
    python benchmarks/detectors.py --hit-uav data/hit_uav

AP50, AP75, mAP, parameters, operations, the time of an image and that of a training, on generated scenes or on
HIT-UAV's validation split (by capture date, see ``hit_uav.py``). Interrupt it when you like: the same command goes on.
The records are ``results/detectors.json`` and ``results/detectors_hit-uav.json``.
"""

from comparison import command_line, compare, kind_of

POINT = 'oriented-point-le90_mobilenetv2_fpn'
VARIANTS = {
    'plain': POINT,
    'dcnv2': f'dcnv2_{POINT}',
    'dcnv4': f'dcnv4_{POINT}',
    'align': 'oriented-align-le90_mobilenetv2_fpn',
    's2anet': 's2anet-le90_mobilenetv2_fpn',
    'oriented-rcnn': 'oriented-rcnn-le90_mobilenetv2_fpn',
    'roi-trans': 'roi-trans-le90_mobilenetv2_fpn',
    'rtmdet': 'rotated-rtmdet_mobilenetv2_fpn',
}


def stem(variant: str, kind: str) -> str:
    """Name of the shipped config of a variant for 'scenes' or 'hit-uav'."""
    if (variant, kind) == ('plain', 'scenes'):
        return f'{POINT}_demo_scenes'
    return f'{VARIANTS[variant]}_12e_{"scenes" if kind == "scenes" else "hit-uav-small"}'


def main() -> None:
    """Parses the command line; trains, measures, writes the record."""
    options = command_line(__doc__ or '', VARIANTS)
    kind = kind_of(options)
    name = 'detectors' if kind == 'scenes' else f'detectors_{kind}'
    compare(options, {variant: stem(variant, kind) for variant in VARIANTS}, name)


if __name__ == '__main__':
    main()
