# The second sensor's features are moved onto the first's before they are fused; the jitter's shifts teach by how much.
# Run by us in benchmarks/sensor_shift.py alone, on images of 320 pixels.
_base_ = './two-stream-le90_mobilenetv2_fpn_12e_scene-pairs_jitter.py'
model = dict(
    align=dict(
        type='CrossSensorAlign',
        in_channels=[32, 96, 320],
        strides=(8, 16, 32),
        family='similarity',  # the generated misalignments; for pure shifts 'translation' is more exact
        coarse_stride=8,
        radius=4,  # cells: the first iteration sees 32 pixels far
    )
)
