"""Location of the catalog: the frameworks' rows, old packages, the Dockerfile.

In a checkout it is the folder `containers/` beside the package; an installation has it within the
package, where `setup.py` maps it. Both are the same files, so that no link is needed, which Jenkins
refuses in a shared library.
"""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_INSTALLED = os.path.join(_PACKAGE, "containers")
FOLDER = (
    _INSTALLED
    if os.path.isdir(_INSTALLED)
    else os.path.join(os.path.dirname(_PACKAGE), "containers")
)
"""The folder of catalog.toml, requirements.toml and Dockerfile."""
CATALOG = os.path.join(FOLDER, "catalog.toml")
