# SPDX-License-Identifier: GPL-2.0
"""Sphinx configuration: sphinx-build -b html Documentation OUTPUT.

The pages include kernel-doc comments of the headers by the kernel's own Sphinx extension. KERNEL_SOURCE
names a source tree of Linux 7.3 or newer; in the lab it is /kernel/source. Without a source tree, the
pages refer to the headers instead.
"""

import os
import sys

from docutils import nodes
from docutils.parsers.rst import Directive, directives

project = "doorbell"
root_doc = "index"
html_theme = "alabaster"
highlight_language = "c"
nitpicky = True
# Types that the headers use and do not define.
nitpick_ignore = [("c:identifier", name) for name in ("u32", "u64", "file", "doorbell_ctx")]

source = os.environ.get("KERNEL_SOURCE", "/kernel/source")
extension = os.path.join(source, "Documentation/sphinx")
extensions = []
kerneldoc_srctree = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.exists(os.path.join(extension, "kerneldoc.py")):
    os.environ.setdefault("srctree", source)
    sys.path.insert(0, extension)
    extensions.append("kerneldoc")


class HeaderReference(Directive):
    """The directive kernel-doc without a kernel source tree: names the header and the identifiers."""

    required_arguments = 1
    option_spec = {"identifiers": directives.unchanged}

    def run(self):
        """Returns a paragraph that refers to the header."""
        text = f"Described in {self.arguments[0]}: {self.options.get('identifiers', 'all')}."
        return [nodes.paragraph(text=text)]


def setup(app):
    """Defines the directive if the kernel's extension does not, and its options if they are unknown."""
    if not extensions:
        app.add_config_value("kerneldoc_srctree", None, "env")
        app.add_directive("kernel-doc", HeaderReference)
