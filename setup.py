"""The page of the package on an index, made of README.md; all the rest is in pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent


def page_for_index(readme, repository=None, version="main"):
    """Return the README as a package index can show it.

    An index resolves no relative links and shows no picture of a clone. With the address of the
    repository they become absolute. Without it, links become their text, and pictures go.

    Parameters
    ----------
    readme : str
        Markdown.
    repository : str, optional
        Address of the repository, as GitHub and GitLab have it.
    version : str
        Branch or tag that links lead to.
    """
    relative = r"\((?![a-z]+:|#)([^)\s]+)\)"
    if repository is None:
        readme = re.sub(rf"!\[[^\]]*\]{relative}\n*", "", readme)
        readme = re.sub(rf"\[([^\]]+)\]{relative}", r"\1", readme)
    else:
        address = repository.rstrip("/")
        raw, blob = f"{address}/raw/{version}", f"{address}/blob/{version}"
        readme = re.sub(rf"(!\[[^\]]*\]){relative}", rf"\1({raw}/\2)", readme)
        readme = re.sub(rf"((?<!!)\[[^\]]+\]){relative}", rf"\1({blob}/\2)", readme)
    readme = readme.replace("From a clone, with Python", "With Python")
    return readme.replace("pip install .", "pip install galaxysegment")


def read_version():
    """Return the version of the package, without importing it."""
    text = (ROOT / "galaxysegment" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def read_page():
    """Return the page for the index, with the links that `project.urls` allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return page_for_index(readme, project["urls"].get("Repository"), f"v{read_version()}")


if __name__ == "__main__":
    from setuptools import setup

    setup(long_description=read_page(), long_description_content_type="text/markdown")
