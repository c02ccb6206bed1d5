"""Train the shipped weights, ``UNetSeparator(weights="blends")``, from simulated blends alone.

    python -m benchmarks.train_shipped_separator --output blends.safetensors

The blends are those that `UNetSeparator.fit` simulates: two to seven galaxies, 1.5 to 36 pixels
from each other, some of them lopsided or dimmed, with a PSF, pixel scale and depth of their own.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from skorch.callbacks import Checkpoint

from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.persistence import save
from galaxysegment.separation import UNetSeparator


def halve(path):
    """Keep the weights of a model file as half floats."""
    tree = read_model_file(path)
    tensors = tree["state"]["tensors"]
    tree["state"]["tensors"] = {
        name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        for name, tensor in tensors.items()
    }
    write_model_file(path, tree)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n-blends", type=int, default=4800)
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--checkpoints", default="separator_epochs", help="folder, for each epoch")
    options = parser.parse_args()
    start = time.process_time()
    separator = UNetSeparator(
        weights=None,
        n_iterations=20,
        n_blends=options.n_blends,
        max_epochs=options.epochs,
        base_width=options.base_width,
        random_state=options.seed,
        device="cpu",
        callbacks=[Checkpoint(monitor=None, dirname=options.checkpoints)],
        verbose=True,
    ).fit()
    separator.set_params(verbose=False, callbacks=None)
    save(separator, options.output)
    halve(options.output)
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
