"""Train a U-Net that tells galaxies, stars and artefacts apart in any number of bands.

    python -m benchmarks.train_shipped_bands --output bands.safetensors --folder training

It begins with the shipped weights "sky", to which the stack of the bands is shown at first: the
maps that the net makes of single bands begin with no weight. The net that ships began with version
1.1 of "sky". The loss, the steps, the checkpoints and the tuning are those of
`train_shipped_classes`, the fields those of `band_fields`. The shipped net is a mean of the first
and the last weights, as of Wortsman et al. (2022, CVPR, "Robust fine-tuning of zero-shot models"):
the last weights alone find fewer faint sources.
"""

import numpy as np
import torch

from galaxysegment import UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment._utils.shipped import weights_path
from galaxysegment.nets.unet._module import UNet

from .band_fields import Fields, cached, simulate_starry
from .class_fields import prepared
from .train_shipped_classes import parse_options, pull_back, score, train
from .tune_shipped_classes import tune, write

HELD_OUT = range(8_000_000, 8_000_012)  # seeds of the fields that the net is scored on meanwhile
SINGLE = 2027 * 100_000  # seed of the first field of one band
LEARNT = 0.8  # share of the last weights in those of the shipped net


def main():
    defaults = {"steps": 1600, "fields": 200, "begin_with": 60, "lr": 1e-3, "every": 250}
    options = parse_options(__doc__.splitlines()[0], **defaults, seed=2028)
    torch.manual_seed(options.seed)
    unet = beginning(options.folder / "start.safetensors", options.seed)
    fields = Fields(unet, options.folder, options.seed * 100_000, SINGLE)
    test = [prepared(unet, *cached(seed, options.folder)) for seed in HELD_OUT]
    train(unet, options, fields, test)
    start = beginning(options.folder / "start.safetensors", options.seed)
    for net in (unet, start):
        silence(net.net_.module_)
    pull_back(unet, start, LEARNT)
    print(score(unet.net_.module_, test), flush=True)
    tune(unet, options.folder, cached, simulate_starry, one_band=False)
    write(unet, options.output)


def silence(module):
    """Let channels whose variance is infinite give what they give in prediction, a constant.

    Version 1.1 of "sky" had 66 of them: the variances overflowed in half floats.
    """
    for block in [*module.encoder, *module.decoder]:
        for norm in (block[1], block[4]):
            silent = torch.isinf(norm.running_var)
            norm.weight.data[silent] = 0
            norm.running_mean[silent] = 0
            norm.running_var[silent] = 1


def beginning(path, seed):
    """Return the net of any number of bands that sees their stack as "sky" sees one band.

    Parameters
    ----------
    path : Path
        Model file that is written.
    seed : int
        Of the weights of the maps of single bands.
    """
    tree = read_model_file(weights_path("UNetSegmenter", "sky"))
    state = tree["state"]
    tensors = {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in state["tensors"].items()
    }
    params = {**state["module_params"], "n_bands": None}
    torch.manual_seed(seed)
    own = {name: tensor.numpy() for name, tensor in UNet(**params).state_dict().items()}
    tensors |= {name: tensor for name, tensor in own.items() if name.startswith("pool.")}
    first = np.zeros_like(own["encoder.0.0.weight"])
    first[:, :1] = tensors["encoder.0.0.weight"]
    tensors["encoder.0.0.weight"] = first
    state |= {"tensors": tensors, "module_params": params, "n_net_bands": None}
    write_model_file(path, tree)
    unet = UNetSegmenter(weights=str(path), rms_band=-1, n_views=1, random_state=seed)
    unet._ready_net()
    return unet


if __name__ == "__main__":
    main()
