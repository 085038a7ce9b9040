"""Makes the name ``stn_det`` known to mmengine: as a source of configs and as a scope of registries.

A config that inherits ``_base_ = 'stn_det::path/file.py'`` needs two things. mmengine resolves ``package::path`` only
for packages in a table of its own, so the package enters itself there when this module is imported. And mmengine marks
what is inherited that way with ``_scope_ = 'stn_det'``, then looks for a registry of that scope; the classes of this
package live in mmdet's registries, so the ones made here are empty and pass every question on to their parent.
"""

import mmdet.registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

SCOPE = 'stn_det'

# mmengine takes the value for a distribution first and for a module second. An editable install has a distribution
# without the files beside it, so the value is a name that is surely no distribution and leads to the right folder.
MODULE2PACKAGE.setdefault(SCOPE, 'stn_det.registry')


def _children() -> dict[str, Registry]:
    parents = {name: value for name, value in vars(mmdet.registry).items() if isinstance(value, Registry)}
    return {
        name: Registry(parent.name, parent=parent, scope=SCOPE, locations=['stn_det.register'])
        for name, parent in parents.items()
    }


REGISTRIES = _children()
