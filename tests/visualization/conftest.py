"""mmdet has to be imported after the bridge that makes it run without compiled mmcv operators."""

import stn_det.mmcv_bridge  # noqa: F401
