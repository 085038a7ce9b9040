import subprocess
import sys


def test_drawing_needs_no_openmmlab_package():
    code = (
        'import sys, stn_det.visualization as v; v.draw_oriented_boxes; m = [n.split(".")[0] for n in sys.modules]; '
        'print({"mmengine", "mmcv", "mmdet"} & set(m), "matplotlib.pyplot" in sys.modules)'
    )
    shown = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == 'set() False'
