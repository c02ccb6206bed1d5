"""Train on more data than fit into memory, and measure what memory it takes.

    python -m benchmarks.bench_stream                 # 20 GB of patches in a memory map
    python -m benchmarks.bench_stream --kind fields   # 20 GB of FITS files, as fields
    python -m benchmarks.bench_stream --kind fields --every 1   # no empty image: 30 GB of disk

The files are sparse: one image in `--every` holds sources and noise, the others are empty and take
no space on the disk, but are read, scaled and trained on like any other. With ``--every 1`` every
pixel is written. Of the fields three are drawn, and the others are copies of their files. All files
are removed afterwards. The net is a single
convolution, so that the time goes into the data. Memory is measured while the net trains: anonymous
memory is what the process cannot give back; pages of files are the system's cache and make way for
whoever needs them. With `--limit`, the system refuses the process more anonymous memory than that.
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

SIDE = 256
N_DIFFERENT = 3  # fields that are drawn; the others are copies of their files


def main():
    """Write the files, train, print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of images (%(default)s)")
    parser.add_argument("--kind", choices=["memmap", "fields"], default="memmap")
    parser.add_argument("--scaling", choices=["asinh", "noise"], default="asinh")
    parser.add_argument("--every", type=int, default=50, help="one image in so many is not empty")
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes of anonymous memory")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write = write_memmap if options.kind == "memmap" else write_fields
        X, y, n_bytes = write(Path(folder), options.gigabytes * 1e9, options.every)
        resource.setrlimit(resource.RLIMIT_DATA, (int(options.limit * 2**30),) * 2)
        train(X, y, n_bytes, options)


def write_memmap(folder, n_bytes, every):
    """Return memory maps of images and labels, and the size of the images."""
    n_images = int(n_bytes / (4 * SIDE**2))
    shape = (n_images, SIDE, SIDE)
    images = np.memmap(folder / "images", np.float32, "w+", shape=shape)
    labels = np.memmap(folder / "labels", np.int32, "w+", shape=shape)
    for index in range(0, n_images, every):
        images[index], labels[index] = make_patch((SIDE, SIDE), index)
    images.flush()
    labels.flush()
    images = np.memmap(folder / "images", np.float32, "r", shape=shape)
    labels = np.memmap(folder / "labels", np.int32, "r", shape=shape)
    return images, labels, images.nbytes


def write_fields(folder, n_bytes, every):
    """Return fields of 8192² pixels in FITS files, no separate labels, and the images' size."""
    from galaxysegment.io import read_field

    side = 8192
    fields = []
    for number in range(max(2, round(n_bytes / (4 * side**2)))):
        path = folder / f"{number}.fits"
        if number < N_DIFFERENT:
            filled = [block for block in range(side // SIDE) if (block - number) % every == 0]
            write_field(path, side, filled, number)
        else:
            shutil.copyfile(folder / f"{number % N_DIFFERENT}.fits", path)
        fields.append(read_field(path))
    return fields, None, 4 * side * side * len(fields)


def write_field(path, side, filled, seed):
    """Write image and labels block by block of rows; blocks that are not `filled` stay holes."""
    from astropy.io import fits

    offset = 0
    with path.open("wb") as file:
        for name, dtype in (("SCI", ">f4"), ("LABELS", ">i2")):
            n_bytes = np.dtype(dtype).itemsize
            header = fits.Header([("XTENSION", "IMAGE")] if offset else [("SIMPLE", True)])
            header.update(BITPIX={">f4": -32, ">i2": 16}[dtype], NAXIS=2, NAXIS1=side, NAXIS2=side)
            header.update({"PCOUNT": 0, "GCOUNT": 1} if offset else {"EXTEND": True})
            header["EXTNAME"] = name
            start = offset + file.write(header.tostring().encode())
            for block in filled:
                image, labels = make_patch((SIDE, side), (seed, block))
                labels[labels > 0] += block * labels.max()  # each source its own number
                file.seek(start + n_bytes * side * SIDE * block)
                file.write((image if name == "SCI" else labels).astype(dtype).tobytes())
            offset = start + -(-n_bytes * side * side // 2880) * 2880
            file.truncate(offset)
            file.seek(offset)


def make_patch(shape, seed):
    """Noise with a source in every 64 × 64 pixels, and the label map."""
    rows, columns = np.indices(shape)
    distance = (rows % 64 - 32) ** 2 + (columns % 64 - 32) ** 2
    image = np.random.default_rng(seed).normal(size=shape) + 30 * np.exp(-distance / 18)
    numbers = rows // 64 * (shape[1] // 64) + columns // 64 + 1
    return image.astype(np.float32), np.where(distance < 50, numbers, 0).astype(np.int32)


def one_convolution(n_bands):
    """The least module there is."""
    import torch

    module = torch.nn.Conv2d(n_bands, 1, 3, padding=1)
    module.multiple, module.halo = 1, 1
    return module


def train(X, y, n_bytes, options):
    """Train for one epoch and print the memory that it took."""
    from skorch.callbacks import Callback

    from galaxysegment import UNetSegmenter

    class Watch(Callback):
        most: dict[str, float] = {"RssAnon": 0.0, "RssFile": 0.0}
        n_batches = 0

        def on_batch_end(self, net, **kwargs):
            self.n_batches += 1
            if self.n_batches % 50 == 0:
                for name, size in memory().items():
                    Watch.most[name] = max(Watch.most[name], size)
            if self.n_batches % 1000 == 0:
                print(f"{self.n_batches} batches, {Watch.most['RssAnon']:.2f} GB", file=sys.stderr)

    unet = UNetSegmenter(
        module=one_convolution,
        scaling=options.scaling,
        max_epochs=1,
        n_views=1,
        callbacks=[Watch()],
        random_state=0,
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet.fit(X, y)
    seconds = time.perf_counter() - start
    after = memory()
    most = {name: max(size, after[name]) for name, size in Watch.most.items()}
    print(
        f"{options.kind}, {options.scaling}: {n_bytes / 1e9:.1f} GB of images in {seconds:.0f} s; "
        "at most "
        f"{most['RssAnon']:.2f} GB of memory, and {most['RssFile']:.2f} GB of the system's cache "
        "of files"
    )


def memory():
    """Gigabytes that the process holds, its own and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = dict(line.split(":") for line in lines if line.startswith("Rss"))
    return {name: int(sizes[name].split()[0]) * 1024 / 1e9 for name in ("RssAnon", "RssFile")}


if __name__ == "__main__":
    main()
