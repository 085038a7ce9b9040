# DOTA 1.0 at several scales: the images are resized by 0.5, 1.0 and 1.5 first, then cut into tiles of 1024 pixels that
# overlap by 500, and all tiles of all scales lie together. Free rotation in training. Layout as in dotav1.py.
_base_ = './dotav1_rr.py'
own = dict(data_root='data/dotav1_ms/')

train_dataloader = dict(dataset=own)
val_dataloader = dict(dataset=own)
test_dataloader = dict(dataset=own)
