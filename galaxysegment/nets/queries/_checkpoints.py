"""Checkpoints of transformers: from a local folder, or from the hub where it is reachable."""

import importlib.util
import json
from pathlib import Path

from transformers import AutoConfig

from ._backbones import adapt_bands, quiet

__all__ = ["load_checkpoint"]


def load_checkpoint(weights, module, n_bands, n_classes):
    """Read a checkpoint for images of `n_bands` bands and `n_classes` classes, the sky among them.

    What depends on the number of classes is learnt anew; the first convolution is spread over the
    bands.

    Parameters
    ----------
    weights : str or path
        Folder, or name on the Hugging Face hub.
    module : type
        `PublishedDetr` or `PublishedMask2Former`: its ``architecture`` and ``model_class`` are what
        is read.
    n_bands, n_classes : int

    Returns
    -------
    params : dict
        Arguments of the module.
    state : dict of str to Tensor
        Its weights.

    Raises
    ------
    ValueError
        If the folder holds no such checkpoint, or one of another architecture.
    OSError
        If the hub cannot be reached and the checkpoint is in no cache.
    """
    options = _where(weights)
    config = _read(AutoConfig, weights, options)
    if config.model_type != module.architecture:
        raise ValueError(
            f"weights={str(weights)!r} hold a model of type {config.model_type!r}, "
            f"but architecture={module.architecture!r}: set architecture={config.model_type!r} "
            "if it is 'detr' or 'mask2former', or take another checkpoint."
        )
    model = _read(
        module.model_class, weights, options, num_labels=n_classes, ignore_mismatched_sizes=True
    )
    wrapped = module.of_model(model)
    adapt_bands(wrapped.body()[0], n_bands)
    params = {
        "n_bands": n_bands,
        "n_classes": n_classes,
        "config": json.dumps(model.config.to_diff_dict()),
    }
    return params, wrapped.state_dict()


def _where(weights):
    """Arguments of `from_pretrained` that keep local folders local."""
    if Path(weights).is_dir():
        return {"local_files_only": True}
    # of Facebook's checkpoints this revision does without timm, which is a backbone library of its
    # own
    return {} if importlib.util.find_spec("timm") else {"revision": "no_timm"}


def _read(cls, weights, options, **more):
    try:
        with quiet():
            return cls.from_pretrained(str(weights), **options, **more)
    except (OSError, ImportError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        if "local_files_only" in options:
            raise ValueError(
                f"weights={str(weights)!r} is a folder without a checkpoint that transformers can "
                f"read ({first}): pass one that save_pretrained() wrote, with config.json and "
                "model.safetensors."
            ) from error
        raise OSError(
            f"weights={str(weights)!r} could not be had from the Hugging Face hub nor from its "
            f"cache ({first}). Where there is a network, run `hf download {weights}` and pass the "
            "folder it prints, or copy that folder here and pass its path."
        ) from error
