"""Oriented object detection in overhead imagery: an MMDetection plugin.

Importing this package, ``stn_det.ops`` or ``stn_det.geometry`` needs no OpenMMLab package. A config registers the
plugin with ``custom_imports = dict(imports=['stn_det.register'], allow_failed_imports=False)``.
"""

__version__ = '0.1.0'
