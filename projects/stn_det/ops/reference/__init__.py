"""Every compiled operator in plain PyTorch: what runs where nothing is compiled, and what tests hold the kernels to."""
