"""What QGIS opens: a style and metadata beside each map, and a project of all maps with a print layout.

Everything is written in the dialect of QGIS 3.22, which later versions read; elevation ranges are for 3.38 and later.
"""

from __future__ import annotations

from .breaks import class_breaks
from .layer import MapLayer
from .project import write_project
from .samples import write_samples

__all__ = ["MapLayer", "class_breaks", "write_project", "write_samples"]
