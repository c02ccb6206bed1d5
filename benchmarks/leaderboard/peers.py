"""Other people's programs as segmenters, each called as its own documentation does."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from galaxysegment._utils.packages import without_bar
from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import label_components, relabel, remove_small

KERNEL = ((1, 2, 1), (2, 4, 2), (1, 2, 1))


class NotInstalledError(ImportError):
    """A peer is absent: its row says so."""


def detection_image(image, rms_band):
    """One image and its noise (or None).

    The mean of the bands, each with the noise that the RMS band says.
    """
    if rms_band is None:
        return image.mean(axis=0), None
    science = np.delete(image, rms_band, axis=0)
    return science.mean(axis=0), image[rms_band] / np.sqrt(len(science))


def missing(science, rms):
    """Pixels without data."""
    return np.isnan(science) if rms is None else np.isnan(science) | ~(rms > 0)


def gaussian_kernel(fwhm, size=5):
    from photutils.segmentation import make_2dgaussian_kernel

    return make_2dgaussian_kernel(fwhm, size=size).array


class ThresholdPeer(BaseSegmenter):
    """Parameters that the three have in common, with the defaults of SExtractor.

    There is no `fwhm`, because the kernel is SExtractor's 3×3.
    """

    _requires_fit = False

    def __init__(self, *, n_sigma=1.5, fwhm=None, n_pixels=5, contrast=0.005, rms_band=None):
        self.n_sigma = n_sigma
        self.fwhm = fwhm
        self.n_pixels = n_pixels
        self.contrast = contrast
        self.rms_band = rms_band


class PlainPhotutils(ThresholdPeer):
    """The script of the photutils documentation, whose values `systems` sets."""

    def _segment_image(self, image):
        from astropy.convolution import convolve
        from photutils.background import Background2D, MedianBackground
        from photutils.segmentation import deblend_sources, detect_sources

        science, rms = detection_image(image, self.rms_band)
        no_data = missing(science, rms)
        background = Background2D(
            science,
            (50, 50),
            mask=no_data,
            filter_size=(3, 3),
            exclude_percentile=50,
            bkg_estimator=MedianBackground(),
        )
        subtracted = np.where(no_data, 0, science - background.background)
        smooth = convolve(subtracted, gaussian_kernel(self.fwhm))
        noise = background.background_rms if rms is None else np.where(no_data, np.inf, rms)
        sources = detect_sources(smooth, self.n_sigma * noise, n_pixels=self.n_pixels, mask=no_data)
        if sources is None:
            return np.zeros(science.shape, dtype=np.int32)
        split = deblend_sources(
            smooth, sources, self.n_pixels, contrast=self.contrast, **without_bar()
        )
        return relabel(split.data)


class PlainSep(ThresholdPeer):
    """The lines of the sep tutorial.

    Its default filter, "matched", weights with the RMS map and compares with the noise of what
    comes out; "conv" is the kernel of SExtractor.
    """

    def __init__(
        self,
        *,
        n_sigma=1.5,
        fwhm=None,
        n_pixels=5,
        contrast=0.005,
        filter_type="matched",
        rms_band=None,
    ):
        super().__init__(
            n_sigma=n_sigma, fwhm=fwhm, n_pixels=n_pixels, contrast=contrast, rms_band=rms_band
        )
        self.filter_type = filter_type

    def _segment_image(self, image):
        import sep

        science, rms = detection_image(image, self.rms_band)
        no_data = missing(science, rms)
        science = np.where(no_data, 0, science).astype(np.float32)
        background = sep.Background(science, mask=no_data)
        _, labels = sep.extract(
            science - background,
            self.n_sigma,
            err=background.globalrms
            if rms is None
            else np.where(no_data, 1, rms).astype(np.float32),
            mask=no_data,
            minarea=self.n_pixels,
            filter_kernel=np.array(KERNEL, float)
            if self.fwhm is None
            else gaussian_kernel(self.fwhm),
            filter_type=self.filter_type,
            deblend_cont=self.contrast,
            segmentation_map=True,
        )
        return relabel(labels.astype(np.int32))


class SExtractor(ThresholdPeer):
    """The program with its own defaults (``-d``), which reads and writes FITS files."""

    def _segment_images(self, images):
        program = find_sextractor()
        with tempfile.TemporaryDirectory() as folder:
            self._write_settings(program, Path(folder))
            return [self._run(program, image, Path(folder)) for image in images]

    def _write_settings(self, program, folder):
        defaults = subprocess.run(
            [program, "-d"], capture_output=True, text=True, check=True
        ).stdout
        kernel = KERNEL if self.fwhm is None else gaussian_kernel(self.fwhm)
        rows = "\n".join(" ".join(f"{value:.8g}" for value in row) for row in kernel)
        (folder / "default.sex").write_text(defaults)
        (folder / "default.param").write_text("NUMBER\n")
        (folder / "default.conv").write_text(f"CONV NORM\n{rows}\n")

    def _run(self, program, image, folder):
        from astropy.io import fits

        science, rms = detection_image(image, self.rms_band)
        options = {
            "CATALOG_TYPE": "NONE",
            "CHECKIMAGE_TYPE": "SEGMENTATION",
            "CHECKIMAGE_NAME": "labels.fits",
            "VERBOSE_TYPE": "QUIET",
            "DETECT_THRESH": self.n_sigma,
            "ANALYSIS_THRESH": self.n_sigma,
            "DETECT_MINAREA": self.n_pixels,
            "DEBLEND_MINCONT": self.contrast,
        }
        no_data = missing(science, rms)
        science = np.where(no_data, np.median(science[~no_data]), science)
        fits.writeto(folder / "image.fits", science.astype(np.float32), overwrite=True)
        if rms is not None:
            rms = np.where(no_data, 1e30, rms)  # beyond SExtractor's limit: a pixel without weight
            fits.writeto(folder / "rms.fits", rms.astype(np.float32), overwrite=True)
            options |= {"WEIGHT_TYPE": "MAP_RMS", "WEIGHT_IMAGE": "rms.fits"}
        words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
        subprocess.run([program, "image.fits", *words], cwd=folder, check=True, capture_output=True)
        return relabel(fits.getdata(folder / "labels.fits").astype(np.int32))


def find_sextractor(required=True):
    """Path of the program; where it is absent an error, or None."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None and required:
        raise NotInstalledError(
            "SExtractor is not installed: Debian's package is source-extractor."
        )
    return program


class NoiseChisel(BaseSegmenter):
    """NoiseChisel and Segment of the GNU Astronomy Utilities, on the S/N image.

    Both estimate the sky on a mesh of tiles. Their tutorial has large images: `interpnumngb` and
    `minnumfalse` are lowered as the programs themselves advise for a patch. A patch where they give
    up has no sources. Their objects reach far below the noise, whereas the true masks end at 1 RMS:
    `isophote` cuts both at so many times the noise of the smoothed image (None: no cut). `hdu` says
    whether "OBJECTS" or the "CLUMPS" within them are the sources.
    """

    _requires_fit = False

    def __init__(
        self, *, qthresh=0.3, detgrowquant=0.9, hdu="OBJECTS", isophote=None, rms_band=None
    ):
        self.qthresh = qthresh
        self.detgrowquant = detgrowquant
        self.hdu = hdu
        self.isophote = isophote
        self.rms_band = rms_band

    def _segment_images(self, images):
        for name in ("astnoisechisel", "astsegment"):
            if shutil.which(name) is None:
                raise NotInstalledError(f"{name} is not installed: Debian's package is gnuastro.")
        with tempfile.TemporaryDirectory() as folder:
            return [self._run(image, Path(folder)) for image in images]

    def _run(self, image, folder):
        from astropy.io import fits

        science, rms = detection_image(image, self.rms_band)
        no_data = missing(science, rms)
        snr = science if rms is None else science / np.where(no_data, 1, rms)
        snr = np.where(no_data, np.nan, snr).astype(np.float32)
        fits.writeto(folder / "image.fits", snr, overwrite=True)
        common = {"numthreads": 1, "tilesize": "20,20", "interpnumngb": 6, "minnumfalse": 20}
        done = _run_gnuastro(
            folder,
            ["astnoisechisel", "image.fits", "--hdu=0", "--output=detected.fits"],
            common | {"qthresh": self.qthresh, "detgrowquant": self.detgrowquant},
        ) and _run_gnuastro(
            folder, ["astsegment", "detected.fits", "--output=segments.fits"], common
        )
        if not done:
            return np.zeros(snr.shape, dtype=np.int32)
        labels = np.maximum(fits.getdata(folder / "segments.fits", self.hdu), 0).astype(np.int32)
        if self.isophote is not None:
            sky = fits.getdata(folder / "detected.fits", "SKY")
            noise = fits.getdata(folder / "detected.fits", "SKY_STD")
            smooth = gaussian_filter(np.nan_to_num((snr - sky) / noise), 2 / 2.355)
            labels[smooth < self.isophote] = 0
        return relabel(labels)


def _run_gnuastro(folder, words, options):
    """Run one of the programs; whether it got to its end."""
    words = [*words, "--quiet", *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


class SmpUNet(BaseSegmenter):
    """The U-Net of segmentation_models_pytorch in the plain loop of its examples.

    No weights from elsewhere.
    """

    _requires_y = True

    def __init__(
        self,
        *,
        encoder="resnet18",
        max_epochs=30,
        batch_size=8,
        lr=1e-3,
        n_pixels=8,
        random_state=0,
    ):
        self.encoder = encoder
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.n_pixels = n_pixels
        self.random_state = random_state

    def _fit_images(self, images, targets):
        import torch

        smp = import_smp()
        torch.manual_seed(self.random_state)
        X = torch.from_numpy(padded(np.stack(images).astype(np.float32)))
        y = torch.from_numpy(
            padded(np.stack([self._mask(item) for item in targets])[:, None].astype(np.float32))
        )
        self.net_ = smp.Unet(self.encoder, encoder_weights=None, in_channels=X.shape[1], classes=1)
        losses = smp.losses.DiceLoss("binary"), torch.nn.BCEWithLogitsLoss()
        optimizer = torch.optim.AdamW(self.net_.parameters(), lr=self.lr)
        n_steps = self.max_epochs * -(-len(X) // self.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=n_steps)
        self.net_.train()
        for _ in range(self.max_epochs):
            for part in torch.randperm(len(X)).split(self.batch_size):
                optimizer.zero_grad()
                logits = self.net_(X[part])
                sum(loss(logits, y[part]) for loss in losses).backward()
                optimizer.step()
                schedule.step()
        self.net_.eval()

    def _mask(self, target):
        return target > 0 if isinstance(target, np.ndarray) else target.to_mask()

    def _segment_images(self, images):
        import torch

        predicted, (height, width) = [], images[0].shape[1:]
        with torch.inference_mode():
            for start in range(0, len(images), self.batch_size):
                batch = padded(np.stack(images[start : start + self.batch_size]).astype(np.float32))
                logits = self.net_(torch.from_numpy(batch))[:, 0, :height, :width].numpy()
                predicted += [label_components(item > 0) for item in logits]
        return [remove_small(prediction, self.n_pixels) for prediction in predicted]


def padded(stack, multiple=32):
    """Mirror a stack beyond its lower right edges, to a size that nets can halve five times."""
    rest = [(0, -side % multiple) for side in stack.shape[-2:]]
    return np.pad(stack, [(0, 0), (0, 0), *rest], mode="reflect")


def import_smp():
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise NotInstalledError(
            "segmentation_models_pytorch is not installed: pip install segmentation-models-pytorch."
        ) from error
    return segmentation_models_pytorch
