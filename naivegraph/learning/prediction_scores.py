"""Scores of predictions, of classes and of weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.errors import EditError

__all__ = ["class_scores", "weight_scores"]


def class_scores(logits: Tensor, classes: Tensor) -> dict[str, float]:
    """Score predictions of classes.

    Precision, recall and F1 are means over the classes that are there or were predicted, and 0 for a class
    where they would be 0 / 0.

    Args:
        logits: `[examples, classes]`.
        classes: The right ones, `[examples]`.

    Returns:
        loss (cross entropy, in nats), accuracy, precision, recall, F1 and perplexity.

    Raises:
        EditError: There are no examples.

    Example:
        >>> scores = class_scores(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]))
        >>> {name: round(scores[name], 2) for name in ("accuracy", "precision", "recall", "f1")}
        {'accuracy': 0.67, 'precision': 0.5, 'recall': 0.67, 'f1': 0.56}
    """
    if not len(classes):
        raise EditError("there are no examples to score: give the validation a larger share")
    loss = float(F.cross_entropy(logits, classes))
    predicted = logits.argmax(1)
    table = torch.zeros(logits.shape[1], logits.shape[1], dtype=torch.float64)
    table.index_put_((classes, predicted), torch.ones(len(classes), dtype=torch.float64), accumulate=True)
    hits, there, said = table.diagonal(), table.sum(1), table.sum(0)
    seen = (there + said) > 0
    means = {
        "precision": float((hits / said.clamp(min=1))[seen].mean()),
        "recall": float((hits / there.clamp(min=1))[seen].mean()),
        "f1": float((2 * hits / (there + said).clamp(min=1))[seen].mean()),
    }
    perplexity = math.exp(min(loss, 700.0))
    return {
        "loss": loss,
        "accuracy": float(hits.sum()) / len(classes),
        **means,
        "perplexity": perplexity,
    }


def weight_scores(predicted: Tensor, weights: Tensor) -> dict[str, float]:
    """Score predictions of weights.

    Returns:
        loss (the sum of squares), relative (the same as a share of the sum of squares of the weights) and
        largest (the largest difference).

    Example:
        >>> weight_scores(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
        {'loss': 1.0, 'relative': 0.5, 'largest': 1.0}
    """
    difference = (predicted - weights).detach().double()
    square = float(weights.detach().double().square().sum())
    loss = float(difference.square().sum())
    largest = float(difference.abs().max()) if len(difference) else 0.0
    return {"loss": loss, "relative": loss / square if square else math.inf, "largest": largest}
