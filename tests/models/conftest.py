"""mmdet can be imported only once the bridge stands."""

import stn_det.register  # noqa: F401
