"""What necks that align features buy a detector: the same one without and with each, equal budget and several seeds.

    python benchmarks/align_necks.py
    python benchmarks/align_necks.py --hit-uav data/hit_uav

Average precision on generated scenes, or on HIT-UAV's validation split (by capture date, see ``hit_uav.py``), the time
of an image, and that of a training. Interrupt it when you like: the same command goes on. The records are
``results/align_necks.json`` and ``results/align_necks_hit-uav.json``.
"""

from comparison import command_line, compare, kind_of

DETECTOR = 'oriented-point-le90_mobilenetv2_fpn'
PLAIN = {'scenes': f'{DETECTOR}_demo_scenes', 'hit-uav': f'{DETECTOR}_12e_hit-uav-small'}
VARIANTS = ('plain', 'stn-align', 'stn-global', 'aligned-fpn')


def stem(variant: str, kind: str) -> str:
    """Name of the shipped config of a variant for 'scenes' or 'hit-uav'."""
    if variant == 'plain':
        return PLAIN[kind]
    return f'{variant}_{DETECTOR}_12e_{"scenes" if kind == "scenes" else "hit-uav-small"}'


def main() -> None:
    """Parses the command line; trains, measures, writes the record."""
    options = command_line(__doc__ or '', dict.fromkeys(VARIANTS))
    kind = kind_of(options)
    name = 'align_necks' if kind == 'scenes' else f'align_necks_{kind}'
    compare(options, {variant: stem(variant, kind) for variant in VARIANTS}, name)


if __name__ == '__main__':
    main()
