"""Scores against scikit-learn's, and splits that share all examples out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics, model_selection

from naivegraph.errors import EditError
from naivegraph.learning import Split
from naivegraph.learning.prediction_scores import class_scores, weight_scores


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 1000))
def test_scores_are_those_of_scikit_learn(count: int, classes: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=random, dtype=torch.float64)
    right = torch.randint(0, classes, (count,), generator=random)
    found, said = class_scores(logits, right), logits.argmax(1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        right, said, average="macro", zero_division=0
    )
    loss = metrics.log_loss(right, logits.softmax(1), labels=range(classes))
    assert found == pytest.approx(
        {
            "loss": loss,
            "accuracy": metrics.accuracy_score(right, said),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "perplexity": math.exp(loss),
        }
    )


def test_scores_of_nothing_are_refused() -> None:
    with pytest.raises(EditError, match="no examples to score"):
        class_scores(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


def test_scores_of_weights() -> None:
    found = weight_scores(torch.tensor([1.0, -1.0, 2.5]), torch.tensor([1.0, -2.0, 2.0]))
    assert found == {"loss": 1.25, "relative": pytest.approx(1.25 / 9), "largest": 1.0}
    assert weight_scores(torch.ones(2), torch.zeros(2))["relative"] == math.inf


@given(st.integers(2, 40), st.integers(2, 8), st.booleans())
def test_each_example_is_held_out_by_one_of_the_folds(count: int, folds: int, shuffle: bool) -> None:
    folds = min(folds, count)
    splits = [Split("k-fold", folds=folds, fold=n, shuffle=shuffle).of(count) for n in range(folds)]
    assert sorted(torch.cat([held for _, held in splits]).tolist()) == list(range(count))
    for train, held in splits:
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(count))
    if not shuffle:
        theirs = model_selection.KFold(folds).split(range(count))
        assert [held.tolist() for _, held in splits] == [held.tolist() for _, held in theirs]


def test_a_share_is_held_out_in_an_order_of_its_seed() -> None:
    train, held = Split("holdout", share=0.25, seed=3).of(20)
    assert len(held) == 5
    assert {*train.tolist()} | {*held.tolist()} == {*range(20)}
    assert torch.equal(held, Split("holdout", share=0.25, seed=3).of(20)[1])
    assert not torch.equal(held, Split("holdout", share=0.25, seed=4).of(20)[1])
    assert Split("holdout", share=0.25, shuffle=False).of(20)[1].tolist() == [15, 16, 17, 18, 19]


@pytest.mark.parametrize(
    ("split", "count", "message"),
    [
        (Split("holdout", share=0.1), 3, "3 would be left for training and 0 for validation"),
        (Split("holdout", share=1.0), 3, "give a share between 0 and 1"),
        (Split("k-fold", folds=3, fold=3), 9, "no part 3 of 3"),
        (Split("k-fold", folds=4, fold=3), 3, "0 for validation"),
    ],
)
def test_splits_that_leave_nothing_are_refused(split: Split, count: int, message: str) -> None:
    with pytest.raises(EditError, match=message):
        split.of(count)
