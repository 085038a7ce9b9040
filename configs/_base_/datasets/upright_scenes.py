# Generated scenes with north up and the sun in the south-east, so that an image has a right way up:
#   python tools/data/make_scenes.py data/upright/train --num-images 800 --yaw -5 5 --sun-azimuth 110 160 \
#       --obliquity 0 10 --tilt-azimuth 0 0 --size 320 320 --gsd 0.18 0.3
#   python tools/data/make_scenes.py data/upright/val --num-images 120 --seed 1000000 (and the same options)
_base_ = './scenes.py'
data_root = 'data/upright/'

train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='FilterOrientedBoxes', min_size=2),  # pixels; no flips: they would turn the image over
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0][0].scale = (320, 320)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
