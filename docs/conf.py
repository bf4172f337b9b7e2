"""Sphinx: ``sphinx-build -W docs docs/_build`` after ``pip install -e ".[docs]"``."""

import ppdsim

project = "ppdsim"
author = "The ppdsim contributors"
project_copyright = author
version = release = ppdsim.__version__
extensions = ["myst_nb"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
html_theme = "furo"
html_title = "ppdsim"
exclude_patterns = ["_build"]
