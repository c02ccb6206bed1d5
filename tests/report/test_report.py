"""The page: a single file whose data decode to the image and its sources, and that works."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image
from scipy import ndimage

from galaxysegment.catalog import source_catalog
from galaxysegment.cli import main
from galaxysegment.report import write_report
from galaxysegment.report._outlines import decode_outline, encode_outline
from galaxysegment.structures import Instances

CHROMIUM = shutil.which("chromium")


def field(height=300, width=520, seed=0):
    """Noise with ten blobs, and their label map."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    image, labels = rng.normal(0, 1, (height, width)), np.zeros((height, width), dtype=np.int32)
    for label in range(1, 11):
        row, column = 25 + 45 * ((label - 1) // 2 % 6), 30 + 48 * (label - 1)
        light = 60 * label * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 30)
        image += light
        labels[light > 5] = label
    return image.astype(np.float32), labels


def parts(page):
    """The JSON of a page, and its texts by name."""
    text = page.read_text(encoding="utf-8")
    document = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    texts = re.findall(r'<script type="text/plain" id="([\w-]+)">\n(.*?)</script>', text, re.S)
    return json.loads(document[1]), {name: body.split("\n")[:-1] for name, body in texts}


def numbers(column):
    return np.frombuffer(b64decode(column["data"]), f"<{column['type']}")


def picture(level, tiles):
    """Put the tiles of a level together; the first row of the image first."""
    decoded = [np.asarray(Image.open(BytesIO(b64decode(tile))))[::-1] for tile in tiles]
    rows = [
        np.concatenate(decoded[start : start + level["columns"]], axis=1)
        for start in range(0, len(decoded), level["columns"])
    ]
    return np.concatenate(rows, axis=0)


def test_a_page_holds_image_outlines_and_catalog(tmp_path):
    image, labels = field()
    page = write_report(tmp_path / "a.html", image, labels, zero_point=25, progress=False)
    document, texts = parts(page)
    catalog = source_catalog(labels, image, background="mesh", zero_point=25)
    columns = {column["name"]: column for column in document["columns"]}
    assert document["n_sources"] == 10 and document["image"]["shape"] == [300, 520]
    for name in ("label", "x", "flux", "magnitude"):
        np.testing.assert_allclose(numbers(columns[name]), np.asarray(catalog[name]), rtol=1e-6)
    finest = picture(document["levels"][0], texts["level-0"])
    assert finest.shape == image.shape and document["levels"][0]["scale"] == 1
    order = np.argsort(image.ravel())
    assert finest.ravel()[order[-200:]].min() > 200
    assert finest.ravel()[order[:50000]].mean() < 60
    assert finest[205, 462] > 200 and finest[300 - 205, 462] < 120  # not upside down
    coarse = picture(document["levels"][1], texts["level-1"])
    assert coarse.shape == (150, 260) and document["levels"][1]["scale"] == 2
    boxes = np.frombuffer(b64decode(document["boxes"]), "<i4").reshape(-1, 4)
    for label, box, outline in zip(range(1, 11), boxes, texts["outlines"], strict=True):
        np.testing.assert_array_equal(filled(outline, box), crop(labels == label, box))


def crop(mask, box):
    return mask[box[0] : box[2], box[1] : box[3]]


def filled(outline, box):
    """The mask inside an outline."""
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), dtype=bool)
    for corners in decode_outline(outline):
        crossings = np.zeros((inside.shape[0], inside.shape[1] + 1), dtype=int)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if x0 == x1:
                crossings[min(y0, y1), x0] += 1
        inside |= np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return inside


@pytest.mark.parametrize("seed", range(8))
def test_outlines_enclose_any_mask_and_its_holes(seed):
    mask = np.random.default_rng(seed).random((14, 19)) < 0.2 + 0.08 * seed
    enclosed = filled(encode_outline(mask), (0, 0, *mask.shape))
    parts, n_parts = ndimage.label(mask)
    around = np.ones((3, 3))
    filled_parts = [ndimage.binary_fill_holes(parts == k, around) for k in range(1, n_parts + 1)]
    np.testing.assert_array_equal(enclosed, np.any(filled_parts, axis=0))


def test_a_large_image_becomes_coarser_and_bright_sources_get_cutouts(tmp_path):
    image, labels = field(700, 900)
    page = write_report(tmp_path / "a.html", image, labels, max_size=0.16, progress=False)
    document, texts = parts(page)
    assert page.stat().st_size <= 160_000
    assert document["levels"][0]["scale"] > 1
    assert 0 < document["n_cutouts"] <= 10
    places = np.frombuffer(b64decode(document["cutouts"]), "<i4").reshape(-1, 5)
    brightest = 9
    y0, x0, y1, x1, step = places[brightest]
    assert step == 1
    shown = np.asarray(Image.open(BytesIO(b64decode(texts["cutouts"][brightest]))))[::-1]
    assert shown.shape == (y1 - y0, x1 - x0)
    assert np.corrcoef(shown.ravel(), np.arcsinh(image[y0:y1, x0:x1]).ravel())[0, 1] > 0.8


def test_overlapping_instances_keep_their_outlines(tmp_path):
    masks = np.zeros((2, 40, 50), dtype=bool)
    masks[0, 10:20, 10:30] = masks[1, 15:25, 20:40] = True
    image = 30 * masks.any(axis=0) + np.random.default_rng(0).normal(size=(40, 50))
    page = write_report(tmp_path / "a.html", image, Instances.from_masks(masks), progress=False)
    document, texts = parts(page)
    boxes = np.frombuffer(b64decode(document["boxes"]), "<i4").reshape(-1, 4)
    for mask, box, outline in zip(masks, boxes, texts["outlines"], strict=True):
        assert filled(outline, box).all() and crop(mask, box).all()


def test_a_users_text_cannot_end_the_data(tmp_path):
    image, labels = field()
    catalog = source_catalog(labels, image)
    catalog["note"] = ["</script><b>"] * len(catalog)
    page = write_report(
        tmp_path / "a.html", image, labels, catalog=catalog, title="<i>a</i>", progress=False
    )
    document, _ = parts(page)
    assert {"name": "note", "unit": "", "type": "text", "data": ["</script><b>"] * 10} in document[
        "columns"
    ]
    assert "<i>a" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "a.png"}, "path must end in .html"),
        ({"max_size": 0}, "max_size must be a number of megabytes"),
        ({"max_size": 0.1}, "too small for the rows and outlines|"),
        ({"rgb": (0, 1, 2)}, "rgb must be three numbers of bands, 0 to 0"),
        ({"catalog": Table({"x": [1.0]})}, "catalog must have a column 'label'"),
        ({"catalog": Table({"label": [77]})}, "lists the source 77, which is not in sources"),
        ({"catalog": Table({"label": [1, 1]})}, "lists a label more than once"),
        ({"sources": np.zeros((5, 5), dtype=int)}, "shape"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(tmp_path, arguments, words):
    image, labels = field()
    arguments = {"path": "a.html", "image": image, "sources": labels, **arguments}
    path = tmp_path / arguments.pop("path")
    if arguments.get("max_size") == 0.1:
        arguments["catalog"] = source_catalog(labels, image)
        arguments["catalog"]["note"] = ["x" * 9000] * 10
    with pytest.raises(ValueError, match=words):
        write_report(path, **arguments, progress=False)
    assert not list(tmp_path.iterdir())


def test_files_are_kept(tmp_path):
    image, labels = field()
    fits.writeto(tmp_path / "a.html", image)  # whatever its name
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_report(tmp_path / "a.html", image, labels, progress=False)
    with pytest.raises(ValueError, match="same file as image"):
        write_report(
            tmp_path / "a.html", tmp_path / "a.html", labels, overwrite=True, progress=False
        )
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.html"), image)


def test_the_command_writes_a_page(tmp_path, monkeypatch, capsys):
    image, labels = field()
    monkeypatch.chdir(tmp_path)
    fits.writeto("image.fits", image)
    fits.writeto("labels.fits", labels)
    assert main(["report", "image.fits", "labels.fits", "--zero-point", "25"]) == 0
    assert "Wrote image_report.html" in capsys.readouterr().out
    document, _ = parts(tmp_path / "image_report.html")
    assert document["n_sources"] == 10
    assert main(["report", "image.fits", "labels.fits", "-o", "labels.fits", "--overwrite"]) == 1
    assert "--output" in capsys.readouterr().err
    np.testing.assert_array_equal(fits.getdata("labels.fits"), labels)


SCRIPT = """
<script>
const said = [];
const step = name => said.push(name + "=" + document.getElementById("name").textContent);
const wait = () => new Promise(done => setTimeout(done, 150));
(async () => { try {
  await wait();
  document.getElementById("label").value = "7";
  document.querySelector("#search button").click();
  await wait(); step("search");
  document.getElementById("sky").dispatchEvent(new KeyboardEvent("keydown", {key: "n"}));
  await wait(); step("n");
  document.querySelector("[data-do=fit]").click();
  await wait();
  // the blob 3 is at column 126, row 70
  const sky = document.getElementById("sky"), view = galaxysegmentReport.view;
  const scale = view.zoom / devicePixelRatio;
  const box = sky.getBoundingClientRect();
  const px = box.left + box.width / 2 + (126 - view.x) * scale;
  const py = box.top + box.height / 2 - (70 - view.y) * scale;
  for (const type of ["pointerdown", "pointerup"])
    sky.dispatchEvent(new PointerEvent(type, {clientX: px, clientY: py, pointerId: 1}));
  await wait(); step("click");
  said.push("rows=" + document.querySelectorAll("#row tr").length);
  said.push("bars=" + document.querySelectorAll("#first rect").length);
  said.push("wide=" + (document.documentElement.scrollWidth > innerWidth));
  const context = sky.getContext("2d");
  const isBright = () => context.getImageData(0, 0, sky.width, sky.height).data
    .some((value, k) => k % 4 === 0 && value > 200);
  // the tiles are decoded in their own time
  for (let times = 0; times < 40 && !isBright(); times++) await wait();
  said.push("bright=" + isBright());
} catch (error) { said.push("error=" + error); }
  document.title = said.join(";");
})();
</script></body>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")
@pytest.mark.parametrize("window", ["1400,900", "390,844"])
def test_a_browser_shows_and_selects_sources(tmp_path, window):
    image, labels = field()
    page = write_report(tmp_path / "a.html", image, labels, zero_point=25, progress=False)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", SCRIPT), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-quic"
    options += " --disable-background-networking --disable-component-update --disable-sync"
    options += f" --window-size={window} --virtual-time-budget=20000 --dump-dom"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *options.split(), profile, f"file://{page}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True).stdout
    said = dict(word.split("=") for word in re.search(r"<title>(.*?)</title>", shown)[1].split(";"))
    assert said["search"] == "Source 7" and said["n"] == "Source 8"
    assert said["click"] == "Source 3"
    assert int(said["rows"]) > 8 and int(said["bars"]) > 2
    assert said["wide"] == "false" and said["bright"] == "true"
