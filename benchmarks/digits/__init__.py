"""The distorted digits of "Spatial Transformer Networks" https://arxiv.org/abs/1506.02025, section 4.1."""
