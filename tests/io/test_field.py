import pickle
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS

from galaxysegment import Instances
from galaxysegment.io import Field, _sources, read_field

SHAPE = (30, 40)


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.int32)
    labels[2:6, 3:9] = 1
    labels[20:25, 30:35] = 2
    labels[5, 8] = 3
    return labels


@pytest.fixture
def field(image, labels, sky_header):
    masks = np.stack([labels == 1, labels >= 2, labels >= 1])
    return Field(
        np.stack([image, image + 1]),
        rms=np.full(SHAPE, 2.0),
        labels=labels,
        classes=[1, 2, 1],
        header=sky_header,
        instances=Instances.from_masks(masks, scores=[0.1, 0.2, 0.3], classes=[1, 2, 1]),
        catalog=Table({"id": [1, 2, 3]}),
    )


def same(field, other):
    """Check that two fields hold the same."""
    np.testing.assert_array_equal(field.image, other.image)
    for name in ("rms", "labels", "classes"):
        if getattr(field, name) is None:
            assert getattr(other, name) is None
        else:
            np.testing.assert_array_equal(getattr(field, name), getattr(other, name))
    assert field.instances == other.instances
    assert field.image.dtype == other.image.dtype


# From arrays


def test_from_arrays(field, image, labels):
    assert (field.shape, field.n_bands) == (SHAPE, 2)
    assert field.image.dtype == np.float32
    assert field.labels.dtype == np.int32
    assert field.wcs.wcs.ctype[0] == "RA---TAN-SIP"
    assert (
        repr(field)
        == "Field(n_bands=2, shape=(30, 40), with rms, labels, classes, instances, catalog)"
    )
    bare = Field(image)
    assert bare.image.shape == (1, *SHAPE)
    assert (
        bare.rms
        is bare.labels
        is bare.classes
        is bare.wcs
        is bare.header
        is bare.instances
        is bare.catalog
        is None
    )
    assert repr(bare) == "Field(n_bands=1, shape=(30, 40))"


def test_rms_without_data_is_nan(image):
    rms = np.ones(SHAPE)
    rms[0, :3] = 0, -1, np.nan
    field = Field(image, rms=rms)
    assert np.isnan(field.rms[0, :3]).all()
    assert rms[0, 0] == 0
    assert Field(image, rms=np.ones((1, *SHAPE))).rms.shape == (1, *SHAPE)


def test_labels_are_painted_from_instances(image, labels):
    field = Field(image, instances=Instances.from_label_map(labels))
    np.testing.assert_array_equal(field.labels, labels)
    assert field.patches(size=30)[1].max() == 2  # the third is to the right


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (
            {"rms": np.ones((10, 12))},
            ValueError,
            r"The RMS map has shape \(10, 12\), but the image has shape \(2, 30, 40\)",
        ),
        ({"rms": np.ones((3, *SHAPE))}, ValueError, r"The RMS map has shape \(3, 30, 40\)"),
        (
            {"labels": np.ones((10, 12), int)},
            ValueError,
            r"The label map has shape \(10, 12\), but the image has shape \(30, 40\): they must "
            r"agree",
        ),
        ({"labels": -np.ones(SHAPE, int)}, ValueError, "positive for sources"),
        ({"instances": Instances((3, 4), [], [])}, ValueError, r"instances has shape \(3, 4\)"),
        ({"instances": 3}, TypeError, "instances must be galaxysegment.Instances or None. Got int"),
        (
            {"labels": np.full(SHAPE, 2), "classes": [1]},
            ValueError,
            "classes has 1 entries, but labels go up to 2",
        ),
        ({"classes": [[1]]}, ValueError, "classes must hold a whole number for every source"),
        ({"classes": [1.5]}, ValueError, "classes must hold a whole number for every source"),
        ({"wcs": "TAN"}, TypeError, "wcs must be an astropy.wcs.WCS or None. Got str"),
        ({"header": {}}, TypeError, "header must be an astropy Header or None. Got dict"),
    ],
)
def test_parts_that_do_not_fit(parts, error, message):
    with pytest.raises(error, match=message):
        Field(np.zeros((2, *SHAPE)), **parts)


@pytest.mark.parametrize("image", [np.zeros(3), np.zeros((0, 4)), np.zeros((1, 2, 3, 4))])
def test_image_of_another_shape(image):
    with pytest.raises(ValueError, match=r"image must have shape \(height, width\) or"):
        Field(image)


# Sections


def sky(field, x, y):
    return field.wcs.pixel_to_world(x, y)


@pytest.mark.parametrize("source", ["header", "wcs", "both"])
def test_section_keeps_sky_positions(image, sky_header, source):
    parts = {"header": {"header": sky_header}, "wcs": {"wcs": WCS(sky_header)}}
    parts["both"] = {"header": fits.Header({"OBJECT": "Coma"}), "wcs": WCS(sky_header)}
    field = Field(image, **parts[source])
    cut = field.section(slice(5, 17), slice(7, 25)).section(slice(2, None), slice(3, -1))
    assert cut.shape == (10, 14)
    np.testing.assert_array_equal(cut.image[0], image[7:17, 10:24])
    assert sky(cut, 3, 4).separation(sky(field, 13, 11)).arcsec < 1e-8
    assert sky(cut, 3, 4).separation(sky(field, 3, 4)).arcsec > 1


def test_section_of_everything_else(field):
    whole = pickle.loads(pickle.dumps(field))
    cut = field.section(slice(0, 22), slice(5, 33))
    window = np.s_[0:22, 5:33]
    np.testing.assert_array_equal(cut.rms, whole.rms[window])
    np.testing.assert_array_equal(cut.labels, whole.labels[window])
    np.testing.assert_array_equal(cut.classes, [1, 2, 1])
    assert cut.instances == whole.instances.shift(0, -5, (22, 28))
    assert cut.catalog is field.catalog
    assert (field.header["CRPIX1"], cut.header["CRPIX1"]) == (20.5, 15.5)
    same(pickle.loads(pickle.dumps(cut)), cut)


def test_header_of_a_section():
    header = fits.Header(
        {"NAXIS": 2, "NAXIS1": 40, "NAXIS2": 30, "CRPIX1A": 9.0, "CRPIX2": 8.0, "LTV1": -3.0}
    )
    cut = Field(np.zeros(SHAPE), header=header).section(slice(2, 12), slice(5, 25)).header
    assert dict(cut) == {
        "NAXIS": 2,
        "NAXIS1": 20,
        "NAXIS2": 10,
        "CRPIX1A": 4.0,
        "CRPIX2": 6.0,
        "LTV1": -8.0,
    }


@pytest.mark.parametrize("rows", [slice(0, 31), slice(3, 3), slice(0, 10, 2)])
def test_bad_section(field, rows):
    with pytest.raises(ValueError, match="section"):
        field.section(rows, slice(0, 4))


def test_header_without_positions_and_with_broken_ones():
    assert Field(np.zeros(SHAPE), header=fits.Header({"OBJECT": "x"})).wcs is None
    broken = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 1.0, "CRVAL2": 2.0})
    field = Field(np.zeros(SHAPE), header=broken)
    with pytest.warns(
        UserWarning, match=r"The WCS of the field cannot be used \(.*\): sky positions are left out"
    ):
        assert field.wcs is None
    assert field.wcs is None  # said once


# From files


@pytest.fixture
def files(tmp_path, image, labels, sky_header):
    for band in "grz":
        fits.writeto(tmp_path / f"{band}.fits", image + ord(band), sky_header)
        fits.writeto(tmp_path / f"{band}.weight.fits", np.full(SHAPE, 0.25, np.float32))
    fits.writeto(tmp_path / "labels.fits", labels.astype(">i8"))
    return tmp_path


def test_one_file_per_band(files, image, labels):
    bands = [files / f"{band}.fits" for band in "grz"]
    weights = [files / f"{band}.weight.fits" for band in "grz"]
    field = read_field(bands, rms=weights, labels=files / "labels.fits", rms_kind="weight")
    assert (field.shape, field.n_bands) == (SHAPE, 3)
    np.testing.assert_array_equal(field.image, [image + ord(band) for band in "grz"])
    np.testing.assert_array_equal(field.rms, np.full((3, *SHAPE), 2))
    np.testing.assert_array_equal(field.labels, labels)
    assert field.wcs.has_celestial
    single = read_field([str(bands[0])], rms=weights[:1], rms_kind="auto")
    assert (single.n_bands, single.rms.shape) == (1, SHAPE)
    shared = read_field(bands, rms=weights[0], rms_kind="auto")
    assert shared.rms.shape == SHAPE


def test_bands_of_different_dtypes(files, image):
    fits.writeto(files / "y.fits", image.astype(np.float64) + 0.1)
    field = read_field([files / "g.fits", files / "y.fits"])
    assert field.image.dtype == np.float64
    np.testing.assert_array_equal(field.image[1], image.astype(np.float64) + 0.1)


def test_nothing_is_read_before_it_is_asked_for(files, monkeypatch):
    reads = []
    read = _sources.FitsSource.read

    def counting(self, section=None):
        reads.append((self.hdu.path.name, section))
        return read(self, section)

    monkeypatch.setattr(_sources.FitsSource, "read", counting)
    field = read_field(
        files / "g.fits",
        rms=files / "g.weight.fits",
        labels=files / "labels.fits",
        rms_kind="weight",
    )
    field.shape, field.n_bands, field.wcs, field.header, repr(field)
    cut = field.section(slice(2, 7), slice(3, 9))
    assert not reads
    assert cut.image.shape == (1, 5, 6)
    assert reads == [("g.fits", (slice(2, 7), slice(3, 9)))]
    assert cut.rms.shape == cut.labels.shape == (5, 6)
    assert field.image is field.image
    assert cut.image is cut.image
    assert reads.count(("g.fits", None)) == 1
    assert field.section(slice(0, 3), slice(0, 3)).image.shape == (
        1,
        3,
        3,
    )  # cut from what is in memory
    assert [name for name, _ in reads].count("g.fits") == 2


def test_section_of_a_large_file_is_read_alone(tmp_path):
    fits.writeto(tmp_path / "a.fits", np.zeros((3, 1500, 1500), np.float32))
    fits.CompImageHDU(np.zeros((1500, 1500), np.int32)).writeto(tmp_path / "b.fits.fz")
    tracemalloc.start()
    try:
        field = read_field(tmp_path / "a.fits", labels=tmp_path / "b.fits.fz")
        cut = field.section(slice(700, 764), slice(100, 164))
        assert cut.image.shape == (3, 64, 64)
        assert not cut.labels.any()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_500_000  # image and labels have 36 MB


def test_gzipped_files(files, image):
    fits.writeto(files / "a.fits.gz", image)
    field = read_field(files / "a.fits.gz")
    np.testing.assert_array_equal(field.section(slice(1, 4), slice(2, 9)).image[0], image[1:4, 2:9])
    X, _ = field.patches(size=10, step=5)
    np.testing.assert_array_equal(X[1], image[0:10, 5:15])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image": ["g.fits", "small.fits"]},
            r"small.fits has shape \(10, 10\), but HDU 0 .* has shape \(30, 40\)",
        ),
        ({"image": ["g.fits", "cube.fits"]}, r"cube.fits is a cube of shape \(2, 30, 40\)"),
        ({"image": []}, "image is an empty list"),
        (
            {"image": "g.fits", "rms": "small.fits"},
            r"The RMS map has shape \(10, 10\), but the image",
        ),
        (
            {"image": "g.fits", "rms": "cube.fits"},
            r"The RMS map has shape \(2, 30, 40\), but the image",
        ),
        (
            {"image": "g.fits", "labels": "small.fits"},
            r"The label map has shape \(10, 10\), but the image",
        ),
        (
            {"image": ["g.fits"] * 3, "rms": ["g.fits"] * 2},
            "rms lists 2 files or HDUs, but image lists 3",
        ),
        ({"image": "g.fits", "labels_hdu": "LABELS"}, "holds no HDU 'LABELS'"),
        ({"image": "g.fits", "rms": "g.fits", "rms_kind": "sigma"}, "kind must be one of"),
    ],
)
def test_files_that_do_not_fit(files, image, options, message, monkeypatch):
    fits.writeto(files / "small.fits", np.ones((10, 10)))
    fits.writeto(files / "cube.fits", np.ones((2, *SHAPE)))
    monkeypatch.setattr(_sources.FitsSource, "read", None)  # found without reading pixels
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match=message):
        read_field(**options)


def exposure(path, image, name="VARIANCE", **shapes):
    """Image, mask and variance in one file, as survey pipelines write them."""
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(image, name="IMAGE"),
        fits.ImageHDU(np.zeros(SHAPE, np.uint16), name="MASK"),
    ]
    hdus.append(fits.ImageHDU(np.full(shapes.get("shape", SHAPE), 9.0), name=name))
    fits.HDUList(hdus).writeto(path)
    return path


def test_exposure_of_several_extensions(tmp_path, image):
    path = exposure(tmp_path / "a.fits", image)
    for options in (
        {},
        {"rms_hdu": 3, "rms_kind": "variance"},
        {"hdu": "IMAGE", "rms": path, "rms_kind": "auto"},
    ):
        field = read_field(path, **options)
        np.testing.assert_array_equal(field.rms, np.full(SHAPE, 3))
    other = exposure(tmp_path / "b.fits", image)
    assert read_field([path, other]).rms.shape == (2, *SHAPE)
    plain = exposure(tmp_path / "c.fits", image, name="PSF")
    assert read_field([path, plain]).rms is None
    stamp = exposure(tmp_path / "d.fits", image, shape=(5, 5))
    assert read_field(stamp).rms is None
    drizzled = exposure(tmp_path / "e.fits", image, name="WHT")  # which may be exposure times
    assert read_field(drizzled).rms is None
    np.testing.assert_allclose(
        read_field(drizzled, rms_hdu="WHT", rms_kind="weight").rms, np.full(SHAPE, 1 / 3)
    )
    assert read_field(exposure(tmp_path / "f.fits", image, name="IVAR")).rms is not None
    variance = read_field(path, hdu="VARIANCE")  # as an image: it is not its own noise
    assert variance.rms is None


# Writing


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_round_trip(tmp_path, field, name):
    path = field.write(tmp_path / name)
    again = read_field(path)
    same(again, field)
    assert list(again.catalog["id"]) == [1, 2, 3]
    assert sky(again, 3, 4).separation(sky(field, 3, 4)).arcsec < 1e-8
    with fits.open(path) as opened:
        assert [hdu.name for hdu in opened] == [
            "PRIMARY",
            "SCI",
            "RMS",
            "LABELS",
            "CLASSES",
            "INSTANCES",
            "CATALOG",
        ]
        assert all(
            WCS(opened[extension].header, naxis=2).has_celestial
            for extension in ("SCI", "RMS", "LABELS")
        )
    unpickled = pickle.loads(pickle.dumps(read_field(path)))
    same(unpickled, field)


def test_round_trip_of_the_least_and_of_a_section(tmp_path, field, image):
    least = Field(image)
    same(read_field(least.write(tmp_path / "a.fits")), least)
    cut = field.section(slice(0, 12), slice(0, 20))
    again = read_field(cut.write(tmp_path / "b.fits"))
    same(again, cut)
    assert sky(again, 3, 4).separation(sky(field, 3, 4)).arcsec < 1e-8


def test_round_trip_keeps_nan_and_every_float(tmp_path):
    image = np.random.default_rng(0).normal(size=(2, *SHAPE))
    image[0, 3, 4] = np.nan
    rms = np.abs(image) + 0.1
    for name in ("a.fits", "a.fits.fz"):
        again = read_field(Field(image, rms=rms).write(tmp_path / name))
        np.testing.assert_array_equal(again.image, image)
        np.testing.assert_array_equal(again.rms, rms)


def test_own_wcs_goes_before_that_of_the_header(tmp_path, image, sky_header):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [10, 20], [-1e-4, 1e-4]
    sky_header["OBJECT"] = "Coma"
    for pixels in (image, np.stack([image] * 3)):
        field = Field(pixels, wcs=wcs, header=sky_header)
        again = read_field(field.write(tmp_path / "a.fits", overwrite=True))
        assert sky(again, 5, 6).separation(sky(field, 5, 6)).arcsec < 1e-8
        assert again.header["OBJECT"] == "Coma"


def test_catalog_with_units_and_sky_positions(tmp_path, image):
    catalog = QTable(
        {"flux": [1, 2] * u.Jy, "sky": SkyCoord([1, 2], [3, 4], unit="deg"), "name": ["a", "b"]}
    )
    again = read_field(Field(image, catalog=catalog).write(tmp_path / "a.fits")).catalog
    assert (again["flux"] == catalog["flux"]).all()
    assert (again["sky"].separation(catalog["sky"]).arcsec < 1e-9).all()
    assert list(again["name"]) == ["a", "b"]


def test_no_sources(tmp_path, image):
    nothing = Field(
        image, labels=np.zeros(SHAPE, int), classes=[], instances=Instances(SHAPE, [], [])
    )
    again = read_field(nothing.write(tmp_path / "a.fits"))
    same(again, nothing)
    assert len(again.instances) == len(again.classes) == 0


def test_write_to_a_folder_and_not_over_a_file(tmp_path, field):
    path = field.write(tmp_path)
    assert path == tmp_path / "field.fits"
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        field.write(tmp_path)
    # A field may be written over the file that it is read from
    lazy = read_field(path)
    lazy.write(path, overwrite=True)
    same(read_field(path), field)


def test_failed_write_leaves_nothing(tmp_path, field, monkeypatch):
    def full(self, fileobj, *args, **kwargs):
        fileobj.write(b"SIMPLE")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OSError, match="No space left"):
        field.write(tmp_path / "a.fits")
    assert not list(tmp_path.iterdir())
