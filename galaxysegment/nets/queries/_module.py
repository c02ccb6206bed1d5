"""The base of modules that predict sets of segments: modes, frozen layers, first weights."""

import torch
from torch import nn

__all__ = ["QueryModule", "draw_weights", "pick", "show_likeliest"]


class QueryModule(nn.Module):
    """Module that returns losses of a `SegmentBatch` with targets, else the logits of queries.

    Only queries that may be sources are returned, and the likeliest sky: ``classes`` are (n,
    n_kept, n_classes + 1), the last for "nothing"; ``masks`` (n, n_kept, height, width).
    """

    #: Names of the losses, as in the history.
    loss_names: tuple[str, ...] = ("loss_class", "loss_mask", "loss_dice")
    #: Norm to which gradients are clipped; only a batch that is matched anew as a whole reaches it.
    max_norm = 50.0
    #: Whether its batch normalization may be folded for prediction.
    foldable = True

    frozen = ()

    def body(self):
        """Return the backbone and its stages, the shallowest first; none if they are not known."""
        raise NotImplementedError

    @classmethod
    def of_model(cls, model):
        """Wrap a model of transformers that is there already."""
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module._take(model)
        return module

    def loss_mode(self):
        """Be ready to compute losses without learning."""
        self.eval()

    def freeze(self, layers):
        """Choose the layers that are trained.

        ``"all"``, ``"heads"`` (all but the backbone) or ``"3+"`` (heads and stages from 3 on).
        """
        body, stages = self.body()
        for weight in self.parameters():
            weight.requires_grad_(True)
        if layers == "all":
            frozen = []
        elif layers == "heads":
            frozen = [body]
        elif not stages:
            raise ValueError(
                f"A stage trains the layers {layers!r}, but the stages of {type(body).__name__} "
                "are not known: "
                'use "heads" or "all".'
            )
        else:
            frozen = stages[: int(layers[:-1]) - 1]
        self.frozen = tuple(frozen)
        for module in frozen:
            module.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode=True):
        """Set the mode; what is frozen keeps its statistics of batches."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def draw_weights(*modules):
    """Draw weights as published. With transformers' own, queries stay alike for long."""
    for weight in (weight for module in modules for weight in module.parameters()):
        if weight.dim() > 1:
            nn.init.xavier_uniform_(weight)


def pick(values, queries):
    """Return the values (n, n_chosen, size) of some queries (n, n_chosen)."""
    return values.gather(1, queries[..., None].expand(-1, -1, values.shape[-1]))


def show_likeliest(logits, paint, least):
    """Logits of the queries that may be sources, and of their masks; one of them is the sky.

    A mask at full resolution costs more than everything else about a query, so that only these
    queries get masks. Images of a batch need different numbers of them; the sky fills the rest.

    Parameters
    ----------
    logits : Tensor of shape (n, n_queries, n_classes + 1)
    paint : callable
        ``paint(queries)`` makes the masks of some queries (n, n_chosen).
    least : float
        Probability of its class from which a query may be a source. It is also likelier to be this
        source than the sky.
    """
    proba = logits.softmax(-1)
    sky, scores = proba[..., 0], proba[..., 1:-1].amax(dim=-1)
    shown = (scores >= least) & (scores >= sky)
    likeliest_sky = sky.argmax(dim=1, keepdim=True)
    shown = shown.scatter(1, likeliest_sky, True)
    order = torch.where(shown, scores, -1.0).topk(int(shown.sum(dim=1).max()), dim=1).indices
    queries = torch.where(shown.gather(1, order), order, likeliest_sky)
    return {"classes": pick(logits, queries), "masks": paint(queries)}
