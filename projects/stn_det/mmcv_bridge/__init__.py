"""Makes MMDetection run on an mmcv without compiled operators.

Importing this package installs the bridge: where mmcv has no usable ``mmcv._ext``, a stand-in module takes its place
and serves mmcv's Python wrappers from :mod:`stn_det.ops`. An mmcv whose extension loads is left untouched. Import it
before ``mmdet`` (``import stn_det.register`` does); it can be used alone, without the rest of this package.
"""

from .install import BridgeStatus, install, status

__all__ = ['BridgeStatus', 'install', 'status']

install()
