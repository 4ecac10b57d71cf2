"""Trainings by configs of networks that predict weights or classes, and `naivegraph weights`.

| to have | say |
|---|---|
| a training that goes on after a stop | `train(learner, optimizer, folder)` |
| the same from a config | `train_config(read_config(["--config", "f.yaml"]), folder)` |
| the best values of a config | `tune(config)` |
| all combinations of some values | `parallel(config)` |
"""

from naivegraph.learning.learners import (
    AuxiliaryLearner,
    ClassLearner,
    Learner,
    QuineLearner,
    digits,
    perceptron,
)
from naivegraph.learning.levenberg_marquardt_optimizer import LevenbergMarquardt
from naivegraph.learning.parallel import parallel
from naivegraph.learning.settings import merged, read_config, train_config
from naivegraph.learning.splits import Split
from naivegraph.learning.train_epochs import Epochs, TrainedLearner, train
from naivegraph.learning.tune import Tuned, tune

__all__ = [
    "AuxiliaryLearner",
    "ClassLearner",
    "Epochs",
    "Learner",
    "LevenbergMarquardt",
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
