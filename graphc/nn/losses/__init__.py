"""Losses, with PyTorch's definitions.

All return a scalar by default: ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``. The first
argument is the model's; targets take its data type. Classes lie on the last axis unless
``axis`` says otherwise.
"""

from graphc.nn.losses.binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    dice_loss,
    focal_loss,
    hinge,
    hinge_loss,
    soft_margin_loss,
    tversky_loss,
)
from graphc.nn.losses.classes import (
    cross_entropy,
    kl_div,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from graphc.nn.losses.embedding import (
    contrastive_loss,
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    pairwise_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from graphc.nn.losses.regression import (
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    poisson_nll_loss,
    quantile_loss,
    smooth_l1_loss,
)
from graphc.nn.losses.sequences import ctc_loss, masked_mean, sequence_mask
from graphc.nn.losses.vocabulary import linear_cross_entropy

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "contrastive_loss",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "focal_loss",
    "gaussian_nll_loss",
    "hinge",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "log_cosh_loss",
    "margin_ranking_loss",
    "masked_mean",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "pairwise_distance",
    "poisson_nll_loss",
    "quantile_loss",
    "sequence_mask",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "tversky_loss",
]
