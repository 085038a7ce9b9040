"""Write a dataset of generated scenes in DOTA's layout.

    python tools/data/make_scenes.py data/scenes/train --num-images 400 --seed 1
    python tools/data/make_scenes.py data/scenes/pairs --num-images 50 --second infrared --obliquity 0 40
    python tools/data/make_scenes.py data/upright/train --num-images 400 --yaw -5 5 --sun-azimuth 110 160

Run the same command again to continue after an interruption, or with a larger --num-images to add scenes.
"""

from __future__ import annotations

import argparse
import sys

from stn_det.datasets.scenes import KINDS, SceneConfig, write_scenes
from stn_det.errors import InputError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out_dir', help='folder to write images, labelTxt and meta to')
    parser.add_argument('--num-images', type=int, default=100, help='number of scenes (default %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the dataset (default %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='processes (default %(default)s)')
    parser.add_argument('--size', type=int, nargs=2, metavar=('W', 'H'), help='image size in pixels')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, metavar='KIND', help='only these: ' + ', '.join(KINDS))
    parser.add_argument('--density', type=float, help='how full the scenes are, 1 is normal')
    parser.add_argument('--second', choices=('infrared', 'sar'), help='also write a misaligned second sensor')
    for name, meaning in (
        ('gsd', 'metres per pixel'),
        ('yaw', 'rotation of the scene in degrees'),
        ('obliquity', 'tilt of the line of sight in degrees'),
        ('tilt-azimuth', 'direction of that tilt in the image, degrees clockwise from up'),
        ('sun-azimuth', 'direction towards the sun, degrees clockwise from the top of an unturned scene'),
        ('noise', 'sensor noise in grey levels'),
    ):
        parser.add_argument(f'--{name}', type=float, nargs=2, metavar=('LOW', 'HIGH'), help=meaning)
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(arguments)
    names = ('size', 'density', 'second', 'gsd', 'yaw', 'obliquity', 'tilt_azimuth', 'sun_azimuth', 'noise')
    settings = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.kinds:
        settings['kinds'] = dict.fromkeys(options.kinds, 1.0)
    try:
        config = SceneConfig(**settings)
        out = write_scenes(
            options.out_dir, options.num_images, config, options.seed, options.workers, progress=not options.quiet
        )
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
