"""What a call of `segment_mosaic` or `separate_mosaic` asks for reaches the reader and the run."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import PhotutilsSegmenter, mosaic
from galaxysegment.io import read_field
from galaxysegment.io._windows import open_pixels
from galaxysegment.mosaic import _light, segment_mosaic, separate_mosaic
from galaxysegment.mosaic._run import check_counts, work_path
from galaxysegment.separation import TemplateSeparator

IMAGE = np.ones((40, 60))
LABELS = np.pad(np.ones((4, 5), dtype=int), ((10, 26), (20, 35)))
SETTINGS = {"tile_size": 33, "n_jobs": 2, "progress": False, "resume": True, "overwrite": True}
DEFAULTS = {
    "tile_size": 2048,
    "n_jobs": 1,
    "progress": True,
    "resume": False,
    "overwrite": False,
}
PLACES = {"hdu": "SCI", "rms_hdu": 3, "mask_hdu": "DQ", "rms_kind": "variance", "mask_bits": (1, 4)}
NO_PLACES = {"hdu": None, "rms_hdu": None, "mask_hdu": None, "rms_kind": "rms", "mask_bits": None}


class Recorder:
    """Stands for the run: notes what it is made of."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options = arguments, options

    def execute(self):
        return self.arguments, self.options


@pytest.fixture
def asked(monkeypatch):
    """What the readers of image and labels were asked for; runs do nothing."""
    asked = {}

    def open_and_note(image, rms, **options):
        asked.update(options, image=image, rms=rms)
        return open_pixels(IMAGE, None if rms is None else IMAGE)

    def open_labels(sources, shape, labels_hdu):
        asked.update(sources=sources, shape=shape, labels_hdu=labels_hdu)

    for module, name in ((mosaic, "Run"), (_light, "LightRun")):
        monkeypatch.setattr(module, name, Recorder)
        monkeypatch.setattr(module, "open_pixels", open_and_note)
    monkeypatch.setattr(_light, "_open_sources", open_labels)
    return asked


def test_segment_mosaic_hands_everything_on(asked, tmp_path):
    segmenter, output = PhotutilsSegmenter(rms_band=-1), tmp_path / "labels.fits"
    options = {"rms": "rms.fits", "mask": "mask.fits", "output": output, "kind": "instances"}
    options |= SETTINGS | PLACES | {"overlap": 17}
    arguments, given = segment_mosaic(segmenter, "image.fits", **options)
    assert arguments[0] is segmenter and arguments[2] == output.resolve()
    assert given == SETTINGS | {"kind": "instances", "overlap": 17}
    assert asked.pop("takes_rms")(1)
    assert asked == PLACES | {"image": "image.fits", "rms": "rms.fits", "mask": "mask.fits"}


def test_segment_mosaic_has_the_defaults_of_its_documentation(asked):
    arguments, given = segment_mosaic(PhotutilsSegmenter(), IMAGE)
    assert arguments[2] is None
    assert given == DEFAULTS | {"kind": "labels", "overlap": None}
    assert not asked.pop("takes_rms")(1)
    assert asked.pop("image") is IMAGE
    assert asked == NO_PLACES | {"rms": None, "mask": None}


def test_separate_mosaic_hands_everything_on(asked, tmp_path):
    separator, output = TemplateSeparator(), tmp_path / "light.fits"
    options = {"rms": "rms.fits", "mask": "mask.fits", "output": output, "kind": "parts"}
    options |= SETTINGS | PLACES | {"background": "mesh", "labels_hdu": "LAB"}
    arguments, given = separate_mosaic(separator, "image.fits", "labels.fits", **options)
    assert arguments[0] is separator and arguments[3] == output.resolve()
    assert given == SETTINGS | {"kind": "parts", "background": "mesh"}
    files = {"image": "image.fits", "rms": "rms.fits", "mask": "mask.fits"}
    files |= {"sources": "labels.fits", "shape": (40, 60), "labels_hdu": "LAB"}
    assert asked == PLACES | files


@pytest.mark.parametrize(("to_file", "kind"), [(True, "fluxes"), (False, "parts")])
def test_separate_mosaic_has_the_defaults_of_its_documentation(asked, tmp_path, to_file, kind):
    output = tmp_path / "light.fits" if to_file else None
    arguments, given = separate_mosaic(TemplateSeparator(), IMAGE, LABELS, output=output)
    assert arguments[3] == output
    assert given == DEFAULTS | {"kind": kind, "background": None}
    assert asked.pop("image") is IMAGE and asked.pop("sources") is LABELS
    assert asked == NO_PLACES | {"rms": None, "mask": None, "shape": (40, 60), "labels_hdu": None}


def test_a_path_is_made_absolute_before_workers_see_it(asked, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    for call, entry in ((segment_mosaic, ()), (separate_mosaic, (LABELS,))):
        method = TemplateSeparator() if entry else PhotutilsSegmenter()
        arguments, _ = call(method, IMAGE, *entry, output="link/a.fits")
        assert arguments[2 + bool(entry)] == tmp_path.resolve() / "folder" / "a.fits"
    assert work_path(arguments[3]) == tmp_path.resolve() / "folder" / ".a.fits.unfinished"


@pytest.mark.parametrize("call", [segment_mosaic, separate_mosaic])
@pytest.mark.parametrize("name", ["image", "rms", "mask", "sources"])
def test_an_output_that_is_any_of_the_inputs_is_refused(tmp_path, call, name):
    if name == "sources" and call is segment_mosaic:
        return
    path = tmp_path / "input.fits"
    path.write_bytes(b"precious")
    inputs = {"image": IMAGE, "sources": LABELS, "rms": None, "mask": None} | {name: path}
    image, sources = inputs.pop("image"), inputs.pop("sources")
    method, entry = PhotutilsSegmenter(rms_band=-1), ()
    if call is separate_mosaic:
        method, entry = TemplateSeparator(), (sources,)
    with pytest.raises(ValueError, match=rf"output .* is the same file as {name}"):
        call(method, image, *entry, **inputs, output=path, overwrite=True)
    assert path.read_bytes() == b"precious"


def test_a_memory_map_of_the_image_is_an_input_of_separated_light(tmp_path):
    mapped = np.memmap(tmp_path / "image.fits", dtype="f4", mode="w+", shape=(40, 60))
    options = {"output": tmp_path / "image.fits", "overwrite": True}
    with pytest.raises(ValueError, match="same file as image"):
        separate_mosaic(TemplateSeparator(), mapped[:], LABELS, **options)


@pytest.mark.parametrize("call", [segment_mosaic, separate_mosaic])
@pytest.mark.parametrize("name", ["image", "rms", "mask"])
def test_the_files_of_a_field_are_inputs(tmp_path, call, name):
    paths = {key: tmp_path / f"{key}.fits" for key in ("image", "rms", "mask")}
    for path in paths.values():
        fits.PrimaryHDU(np.ones((40, 60), dtype=np.uint8)).writeto(path)
    field = read_field(paths["image"], rms=paths["rms"], mask=paths["mask"], rms_kind="rms")
    before = paths[name].read_bytes()
    method, entry = PhotutilsSegmenter(rms_band=-1), ()
    if call is separate_mosaic:
        method, entry = TemplateSeparator(), (LABELS,)
    with pytest.raises(ValueError, match=r"output .* is the same file as"):
        call(method, field, *entry, output=paths[name], overwrite=True)
    assert paths[name].read_bytes() == before


def test_methods_with_bad_parameters_are_refused_before_any_work(asked):
    for call, method, entry in (
        (segment_mosaic, PhotutilsSegmenter(n_pixels=0), ()),
        (separate_mosaic, TemplateSeparator(n_iterations=0), (LABELS,)),
    ):
        with pytest.raises(ValueError, match=r"The 'n_.*' parameter of"):
            call(method, IMAGE, *entry)
    assert "sources" not in asked


@pytest.mark.parametrize(
    ("name", "lowest", "allowed"),
    [
        ("tile_size", 1, "at least 1"),
        ("overlap", 1, "at least 1"),
        ("n_jobs", -(2**31), "not 0"),
    ],
)
def test_counts_are_whole_numbers_from_a_lowest_on(name, lowest, allowed):
    counts = {"tile_size": 9, "n_jobs": 1, "overlap": None}
    for value in (lowest, np.int64(7), 2**40):
        check_counts(**counts | {name: value})
    bad = [lowest - 1, 2.0, "3", True, *([0] if name == "n_jobs" else [])]
    bad += [None] if name == "tile_size" else []
    for value in bad:
        with pytest.raises(ValueError, match=f"{name} must be a whole number, {allowed}. Got"):
            check_counts(**counts | {name: value})
    if name != "tile_size":
        check_counts(**counts | {name: None})


@pytest.mark.parametrize("second", [PhotutilsSegmenter(), IMAGE])
def test_an_image_where_the_segmenter_belongs(second):
    with pytest.raises(TypeError, match=r"^segmenter, the first argument.* Got ndarray"):
        segment_mosaic(IMAGE, second)
