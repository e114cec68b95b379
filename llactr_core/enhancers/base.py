"""What an enhancer adds to a backbone."""

import torch
from torch import Tensor, nn


class Enhancer(nn.Module):
    """Base of the enhancers, and the one that adds nothing."""

    def loss(self, v: Tensor) -> Tensor:
        """What is added to the BCE, a scalar; v are the batch's feature embeddings [B, K, d]."""
        return v.new_zeros(())

    def pair_weights(self) -> Tensor | None:
        """Weights of <v_i, v_j> in the logit, symmetric [K, K] with a zero diagonal; None for no such term.

        They depend on no row: after training they are constants of the serving graph.
        """
        return None


def pair_terms(v: Tensor, weights: Tensor) -> Tensor:
    """The parts of `pair_logit`: [B, K, K], strictly upper triangular."""
    return (weights * torch.matmul(v, v.transpose(1, 2))).triu(1)


def pair_logit(v: Tensor, weights: Tensor) -> Tensor:
    """sum over i < j of weights_ij <v_i, v_j>: [B] from v [B, K, d] and symmetric weights [K, K]."""
    mixed = torch.matmul(weights, v)  # [B, K, d]
    return 0.5 * (mixed * v).sum(dim=(1, 2))
