"""Sphinx configuration. `make docs` builds; warnings are errors."""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from sphinx.application import Sphinx  # noqa: E402
from sphinx.util import logging  # noqa: E402

from docs.extensions.generate import generate  # noqa: E402
from docs.extensions.references import ReferenceChecker  # noqa: E402

_log = logging.getLogger(__name__)

project = "voxrec"
author = "the voxrec authors"
copyright = author  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
exclude_patterns = ["_build", "_generated", "extensions"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "voxrec"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path: list[str] = []
nitpicky = True
suppress_warnings: list[str] = []


def _prepare(_app: Sphinx) -> None:
    generate(_ROOT, _ROOT / "docs" / "_generated")
    for broken in ReferenceChecker(_ROOT).broken():
        _log.warning("%s: %s", broken.reference, broken.reason, location=f"{broken.file}:{broken.line}")


def setup(app: Sphinx) -> None:
    """Have the generated parts made, and the references checked, before Sphinx reads the pages."""
    app.connect("builder-inited", _prepare)
