"""High Order Group Attention (HOGA) and its differentiable search, for OpenMMLab.

Importing the package is cheap: it loads no torch and no host. What it does do is install two import hooks that let
current hosts work (see :mod:`mmhoga.compat`), which must happen before a host is imported.
"""

from mmhoga.compat import install_stand_in, repair_ssd_head
from mmhoga.version import __version__

__all__ = ['__version__']

install_stand_in()
repair_ssd_head()
