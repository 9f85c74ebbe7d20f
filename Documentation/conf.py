# SPDX-License-Identifier: GPL-2.0
"""Sphinx configuration: sphinx-build -b html Documentation OUTPUT."""

project = "doorbell"
root_doc = "index"
extensions = []
html_theme = "alabaster"
highlight_language = "c"
nitpicky = True
