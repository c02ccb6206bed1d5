"""The base of modules that predict sets of segments: modes, frozen layers, first weights."""

from torch import nn

__all__ = ["QueryModule", "draw_weights"]


class QueryModule(nn.Module):
    """Module that returns losses of a `SegmentBatch` with targets, else the logits of queries.

    ``classes`` are (n, n_queries, n_classes + 1), the last for "nothing"; ``masks`` (n, n_queries,
    height, width).
    """

    #: Names of the losses, as in the history.
    loss_names: tuple[str, ...] = ("loss_class", "loss_mask", "loss_dice")
    #: Norm to which gradients are clipped; only a batch that is matched anew as a whole reaches it.
    max_norm = 50.0

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
