"""Networks as data, as `ng.tokens`: made in numbers, read and written as tokens.

| to have | say |
|---|---|
| the places that all networks of a data set share | `frame = Frame("dense", 4, 1, depth=3, width=8)` |
| networks as tensors, run all at once | `networks.run(x)`, `networks.module(0)` |
| trained networks in numbers, kept in files | `made = ng.tokens.generate(2000, frame)`, `made.save("a")` |
| networks in one order, without signs and scales | `ng.tokens.canonical(networks)` |
| the sensitivity of outputs to neurons | `ng.tokens.sensitivity(networks, x)`, `graph_sensitivity` |
| tokens, and networks again | `networks.tokens()`, `ng.tokens.Networks.from_tokens(frame, tokens)` |
| a model that reads and writes networks | `ng.tokens.train(networks, meta, inputs=x, folder="b").model` |
| how good it is, and whether meta-features matter | `ng.tokens.scores(...)`, `ng.tokens.conditioning(...)` |
| new networks, also for data like yours | `ng.tokens.sample(model, 20, like=(x, y)).networks` |
| heads that go with decoded hidden layers | `ng.tokens.refit(networks, x, y)` |
| pictures | `ng.tokens.draw_networks(...)`, `ng.tokens.draw_latent_space(...)` |
| any captured network as tokens, and its weights again | `of_graph(graph)`, `write(tokens, graph)` |
| rows of parent, child, weight and type | `ng.tokens.edge_list(networks, 0)`, `networks_of_edges` |
"""

from naivegraph.tokens.canonical import canonical
from naivegraph.tokens.conditioning import Conditioning, conditioning
from naivegraph.tokens.drawn_networks import Sampled, sample
from naivegraph.tokens.edge_list import EdgeList, edge_list, networks_of_edges
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.generate import generate
from naivegraph.tokens.graph_tokens import GraphTokens, of_graph, write
from naivegraph.tokens.learning_tasks import LearningTask
from naivegraph.tokens.meta_features import meta_feature_names, meta_features
from naivegraph.tokens.metrics import Scores, scores
from naivegraph.tokens.network_losses import LossWeights
from naivegraph.tokens.network_set import NetworkSet
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.neuron_sensitivity import graph_sensitivity, sensitivity
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.refit_heads import refit
from naivegraph.tokens.repair import repair
from naivegraph.tokens.token_pictures import draw_latent_space, draw_networks
from naivegraph.tokens.train import Trained, TrainSettings, train
from naivegraph.tokens.training_files import load_model, save_model
from naivegraph.tokens.vae import NetworkVAE, VAESize

__all__ = [
    "Conditioning",
    "EdgeList",
    "Frame",
    "GraphTokens",
    "LearningTask",
    "LossWeights",
    "NetworkSet",
    "NetworkVAE",
    "Networks",
    "Sampled",
    "Scores",
    "TrainSettings",
    "Trained",
    "VAESize",
    "canonical",
    "conditioning",
    "draw_latent_space",
    "draw_networks",
    "edge_list",
    "generate",
    "graph_sensitivity",
    "load_model",
    "meta_feature_names",
    "meta_features",
    "networks_of_edges",
    "of_graph",
    "random_structure",
    "refit",
    "repair",
    "sample",
    "save_model",
    "scores",
    "sensitivity",
    "train",
    "write",
]
