"""Sphinx configuration: user guide, API reference from the public names, and a gallery that runs."""

import inspect
import sys
import warnings
from importlib import import_module
from pathlib import Path

import galaxysegment

sys.path.insert(0, str(Path(__file__).parent))

project = "galaxysegment"
copyright = "2026, the galaxysegment developers"
author = "The galaxysegment developers"
release = version = galaxysegment.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "galaxysegment"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False
exclude_patterns = ["_build", "api/templates"]
templates_path = ["_templates"]
autosummary_generate = True
# The template in _templates/autosummary lists the methods.
numpydoc_show_class_members = False
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}
# Links in docstrings such as `Instances` resolve within the package where they can, and stay text elsewhere.
default_role = "autolink"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("galaxysegment",),
    "abort_on_example_error": True,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "reference_url": {"galaxysegment": None},
}
# Examples warn where there is nothing to see in a patch; that is not what they show.
warnings.filterwarnings("ignore", category=UserWarning, module="joblib")

PUBLIC_MODULES = [
    "galaxysegment",
    *(f"galaxysegment.{name}" for name in galaxysegment.__all__ if name not in galaxysegment._NAMES),
]


def write_api_page(folder):
    """Write api/index.rst: every public name of every public module, each in one place."""
    lines = ["API reference", "=============", ""]
    for module_name in PUBLIC_MODULES[1:]:
        module = import_module(module_name)
        names = [n for n in getattr(module, "__all__", []) if _is_documented(getattr(module, n))]
        if not names:
            continue
        title = f"``{module_name}``"
        lines += [title, "-" * len(title), "", (module.__doc__ or "").splitlines()[0], ""]
        lines += [
            f".. currentmodule:: {module_name}",
            "",
            ".. autosummary::",
            "   :toctree: generated",
            "   :nosignatures:",
            "",
        ]
        lines += [f"   {name}" for name in names] + [""]
    folder.mkdir(exist_ok=True)
    text = "\n".join(lines)
    path = folder / "index.rst"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _is_documented(member):
    return inspect.isclass(member) or callable(member)


write_api_page(Path(__file__).parent / "api")
