"""Catalogs as files: tables, and regions that DS9 draws over the image."""

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike

from ..structures import Instances
from ._regions import outline_lines

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

CATALOG_FORMATS = {
    ".fits": "fits",
    ".ecsv": "ascii.ecsv",
    ".parquet": "parquet",
    ".csv": "ascii.csv",
    ".vot": "votable",
    ".xml": "votable",
}
_N_VERTICES = 24


def write_catalog(path: str | Path, catalog: "Table", *, overwrite: bool = False) -> Path:
    """Write a catalog to a file, which appears whole or not at all.

    Parameters
    ----------
    path : str or path
        Ends in ``.fits``, ``.ecsv`` (text, everything kept), ``.vot`` or ``.xml`` (VOTable),
        ``.parquet`` (needs pyarrow), or ``.csv`` (text, without units).
    catalog : `astropy.table.Table`
        As of `source_catalog`. The column ``sky_position``, which repeats ``ra`` and ``dec``, is
        left out. In a ``.csv`` file, a column with one value per band becomes several: ``flux_1``,
        ``flux_2``; pass ``bands=`` to `source_catalog` to give them names.
    overwrite : bool, default=False
        Replace a file of this name.

    Returns
    -------
    `pathlib.Path`
        The file written.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from astropy.table import QTable
    >>> from galaxysegment.catalog import source_catalog, write_catalog
    >>> catalog = source_catalog(np.eye(3, dtype=int), np.eye(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_catalog(Path(folder) / "sources.ecsv", catalog)
    ...     QTable.read(path)["flux"].tolist()
    [3.0]
    """
    path = Path(path)
    if path.suffix not in CATALOG_FORMATS:
        raise ValueError(f"path must end in {', '.join(CATALOG_FORMATS)}. Got {path} instead.")
    _check_free(path, overwrite)
    require_pyarrow(path)
    kept = catalog[[name for name in catalog.colnames if name != "sky_position"]]
    kept = _one_value_a_cell(kept) if path.suffix == ".csv" else kept
    draft = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        kept.write(draft, format=CATALOG_FORMATS[path.suffix])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def require_pyarrow(path: str | Path | None) -> None:
    """Refuse a Parquet file if the package that writes it is missing."""
    if path is None or Path(path).suffix != ".parquet":
        return
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Parquet files need the package pyarrow: run `pip install pyarrow`, or write .fits."
        ) from error


def _one_value_a_cell(catalog):
    """Return a table with a column, numbered from 1, for each entry of a column of vectors."""
    from astropy.table import Table

    columns = {}
    for name in catalog.colnames:
        values = np.asarray(getattr(catalog[name], "value", catalog[name]))
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{index}": band for index, band in enumerate(values.T, start=1)}
    return Table(columns)


def write_regions(
    path: str | Path,
    catalog: "Table | ArrayLike | Instances",
    *,
    wcs: "WCS | None" = None,
    scale: float = 3.0,
    overwrite: bool = False,
) -> Path:
    """Write the ellipses of a catalog, or the outlines of sources, as a region file of DS9.

    Parameters
    ----------
    path : str or path
        Ends in ``.reg``.
    catalog : `astropy.table.Table`, label map of shape (height, width), or `Instances`
        A table as of `source_catalog`, whose ellipses are written; or sources, whose outlines along
        the edges of their pixels are written as polygons.
    wcs : `astropy.wcs.WCS`, optional
        Write positions on the sky (ICRS, as polygons, which are right for any orientation of the
        image) instead of pixels of this image.
    scale : float, default=3.0
        Size of an ellipse in units of the semi-axes; about the outline of a source at 3.
    overwrite : bool, default=False
        Replace a file of this name.

    Returns
    -------
    `pathlib.Path`
        The file written.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from galaxysegment.catalog import source_catalog, write_regions
    >>> image = np.pad(np.ones((5, 9)), 3)
    >>> catalog = source_catalog((image > 0).astype(int), image)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(write_regions(Path(folder) / "sources.reg", catalog).read_text().splitlines()[-1])
    ellipse(8.000,6.000,7.746,4.243,0.00) # text={1}
    """
    path = Path(path)
    if path.suffix != ".reg":
        raise ValueError(f"path must end in .reg. Got {path} instead.")
    _check_free(path, overwrite)
    lines = ["# Region file format: DS9 version 4.1", "global color=green width=1"]
    lines += _lines(catalog, scale, wcs)
    draft = path.with_name(f".{uuid4().hex}.reg")
    try:
        draft.write_text("\n".join(lines) + "\n", encoding="ascii")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _lines(catalog, scale, wcs):
    from astropy.table import Table

    if not isinstance(catalog, Table):
        return outline_lines(catalog, wcs)
    return _ellipses(catalog, scale) if wcs is None else _polygons(catalog, scale, wcs.celestial)


def _check_free(path, overwrite):
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} to write {path.name} to: make it first."
        )


def _axes(catalog, scale):
    return [
        np.asarray(getattr(catalog[name], "value", catalog[name])) * factor
        for name, factor in (("semi_major", scale), ("semi_minor", scale), ("angle", 1.0))
    ]


def _ellipses(catalog, scale):
    major, minor, angle = _axes(catalog, scale)
    rows = zip(
        catalog["label"], catalog["x"] + 1, catalog["y"] + 1, major, minor, angle, strict=True
    )
    return [
        "image",
        *(
            f"ellipse({x:.3f},{y:.3f},{a:.3f},{b:.3f},{t:.2f}) # text={{{label}}}"
            for label, x, y, a, b, t in rows
        ),
    ]


def _polygons(catalog, scale, wcs):
    major, minor, angle = _axes(catalog, scale)
    turn = np.linspace(0, 2 * np.pi, _N_VERTICES, endpoint=False)
    along, across = major[:, None] * np.cos(turn), minor[:, None] * np.sin(turn)
    cos, sin = (function(np.radians(angle))[:, None] for function in (np.cos, np.sin))
    x = np.asarray(catalog["x"])[:, None] + along * cos - across * sin
    y = np.asarray(catalog["y"])[:, None] + along * sin + across * cos
    lines = ["icrs"]
    if len(x):
        sky = wcs.pixel_to_world(x, y).icrs
        for label, ra, dec in zip(catalog["label"], sky.ra.deg, sky.dec.deg, strict=True):
            vertices = ",".join(f"{a:.7f},{b:.7f}" for a, b in zip(ra, dec, strict=True))
            lines.append(f"polygon({vertices}) # text={{{label}}}")
    return lines
