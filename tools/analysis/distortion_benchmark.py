"""Average precision of detectors on turned, scaled, sheared and obliquely seen images.

Writes distortion.json, distortion.md and curves (PNG) to --out-dir. Run the same command again to continue after an
interruption; finished levels are kept.

example:
  python tools/analysis/distortion_benchmark.py plain.py plain.pth stn.py stn.pth --names plain STN \
      --families rotation obliquity --levels rotation=0,30,60,90 --max-images 50 --out-dir work_dirs/distortion
"""

import argparse
import sys
import traceback

from stn_det import apis
from stn_det.apis.distortion_plan import parse_levels
from stn_det.cli.options import add_device, add_overrides, logs_to_stderr
from stn_det.errors import StnDetError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'pairs', nargs='+', metavar='CONFIG CHECKPOINT', help='one or more configs, each with its weights'
    )
    parser.add_argument('--names', nargs='+', metavar='NAME', help='of the models; default the names of the configs')
    parser.add_argument(
        '--families',
        nargs='+',
        metavar='FAMILY',
        help='of rotation, scale, shear, obliquity, perspective and shift; default the first four, and shift for pairs '
        'of images',
    )
    parser.add_argument(
        '--levels',
        nargs='+',
        default=[],
        metavar='FAMILY=A,B',
        help='levels of a family in place of the default ones, for example rotation=0,45,90 scale=0.5,1,2',
    )
    parser.add_argument('--max-images', type=int, help='measure so many images, drawn by the seed; default all')
    parser.add_argument('--seed', type=int, default=0, help='draws images and directions (default: 0)')
    parser.add_argument('--out-dir', default='work_dirs/distortion', help='results (default: work_dirs/distortion)')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    add_overrides(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    if len(options.pairs) % 2:
        parser.error(f'{len(options.pairs)} files are given; expected pairs of config and checkpoint')
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        with logs_to_stderr():
            report = apis.distortion_benchmark(
                list(zip(options.pairs[::2], options.pairs[1::2])),
                names=options.names,
                families=options.families,
                levels=parse_levels(options.levels),
                max_images=options.max_images,
                seed=options.seed,
                out_dir=options.out_dir,
                cfg_options=options.cfg_options,
                allow_new=options.allow_new,
                device=options.device,
            )
    except StnDetError as error:
        if options.debug:
            traceback.print_exc()
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted: finished levels are kept; the same command goes on.', file=sys.stderr)
        return 1
    print(report.table())
    print('\n'.join(f'written: {path}' for path in report.files))
    return 0


if __name__ == '__main__':
    sys.exit(main())
