"""Trainings of networks that predict weights, by configs, as `ng.weights.learning` and `naivegraph weights`.

| to have | say |
|---|---|
| a training that goes on after a stop | `train(learner, optimizer, folder)` |
| the same from a config | `train_config(read_config(["--config", "f.yaml"]), folder)` |
| the best values of a config | `tune(config)` |
| all combinations of some values | `parallel(config)` |
"""

from naivegraph.weights.learning.learners import ClassLearner, Learner, QuineLearner, digits, perceptron
from naivegraph.weights.learning.parallel import parallel
from naivegraph.weights.learning.settings import merged, read_config, train_config
from naivegraph.weights.learning.splits import Split
from naivegraph.weights.learning.train_epochs import Epochs, TrainedLearner, train
from naivegraph.weights.learning.tune import Tuned, tune

__all__ = [
    "ClassLearner",
    "Epochs",
    "Learner",
    "QuineLearner",
    "Split",
    "TrainedLearner",
    "Tuned",
    "digits",
    "merged",
    "parallel",
    "perceptron",
    "read_config",
    "train",
    "train_config",
    "tune",
]
