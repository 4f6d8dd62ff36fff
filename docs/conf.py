"""Configuration of the documentation."""

import sys
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for the order of the gallery

project = "sklearn-einet"
copyright = "2026, sklearn-einet developers"
version = release = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "auto_examples/*.ipynb"]
templates_path = ["_templates"]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False

# Pages are notebooks: every code cell runs when the documentation is built, and an error ends it.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "warn"  # a warning in an output ends a build with -W
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The inventories in the repository list only the names that these pages use. They serve builds that
# cannot reach the sites, and give the same links.
INVENTORIES = Path(__file__).parent / "inventories"
SITES = {
    "sklearn": "https://scikit-learn.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
}
intersphinx_mapping = {
    name: (url, (str(INVENTORIES / f"{name}.inv"), None)) for name, url in SITES.items()
}
intersphinx_timeout = 5

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-einet"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "github_url": "https://github.com/sklearn-einet/sklearn-einet",
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "show_toc_level": 2,
}
html_sidebars = {"benchmarks": []}  # a page without others beside it
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "within_subsection_order": "gallery_order.OrderOfUse",
    "show_memory": False,
    "show_signature": False,
    "reference_url": {"sklearn_einet": None},
}
warnings.filterwarnings("ignore", category=ConvergenceWarning)
