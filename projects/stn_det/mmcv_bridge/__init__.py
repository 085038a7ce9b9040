"""mmcv_bridge."""
