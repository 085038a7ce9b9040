"""Where queries of a detection transformer look: sampling points and attention weights, drawn on an image.

The box that a query looked from is dashed, the box that the layer made of it is solid.

examples:
  python tools/analysis/draw_attention.py my_detr.py work_dirs/my_detr/epoch_12.pth image.png --best 3 -o best.png
  python tools/analysis/draw_attention.py my_detr.py work_dirs/my_detr/epoch_12.pth image.png --layer 0 --query 17 \
      --color-by head --zoom -o query.png
"""

import argparse
import sys
import traceback

from stn_det import apis
from stn_det.cli.options import CONFIG_HELP, add_device, add_overrides, logs_to_stderr
from stn_det.errors import StnDetError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help=CONFIG_HELP)
    parser.add_argument('checkpoint', help='the weights')
    parser.add_argument('image', help='an image file')
    parser.add_argument('-o', '--out', default='attention.png', help='PNG or JPEG to write (default: attention.png)')
    parser.add_argument('--layer', type=int, default=-1, help='decoder layer from 0; -1 is the last (default: -1)')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--query', type=int, nargs='+', metavar='N', help='numbers of queries, from 0')
    which.add_argument('--best', type=int, default=1, metavar='N', help='N queries with the best scores (default: 1)')
    parser.add_argument('--score-thr', type=float, default=0.0, help='lowest score of --best (default: 0)')
    parser.add_argument(
        '--color-by', choices=('weight', 'head'), default='weight', help='what colours tell (default: weight)'
    )
    parser.add_argument('--zoom', action='store_true', help='show the surroundings of each query alone, enlarged')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    add_overrides(parser)
    add_device(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        with logs_to_stderr():
            picture = apis.draw_attention(
                options.config,
                options.checkpoint,
                options.image,
                options.out,
                layer=options.layer,
                queries=options.query,
                best=options.best,
                score_thr=options.score_thr,
                color_by=options.color_by,
                zoom=options.zoom,
                cfg_options=options.cfg_options,
                allow_new=options.allow_new,
                device=options.device,
            )
    except StnDetError as error:
        if options.debug:
            traceback.print_exc()
        print(f'error: {error}', file=sys.stderr)
        return 1
    print('\n'.join(picture.captions))
    print(f'written: {picture.path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
