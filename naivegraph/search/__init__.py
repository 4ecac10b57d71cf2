"""Search for architectures: schemas, which are walked into networks, studies, names of architectures.

Its names load with the first that is asked for, as those of the package do.

Example:
    >>> from naivegraph import search
    >>> s = search.Schema()
    >>> first, last = s.node("first", search.conv(3), channels=(4, 8)), s.node("last", search.global_pool())
    >>> _ = first.then(first).then(last)
    >>> graph = s.compile((3, 8, 8), seed=0, nodes=4)
    >>> [vertex.name for vertex in graph]
    ['input', 'first.conv', 'first_1.conv', 'first_2.conv', 'last.pool']
"""

import importlib
from typing import TYPE_CHECKING

# The module of each public name, below this package.
_HOMES = {
    "Callback": "study",
    "Candidate": "study",
    "ChoiceSpace": "evolution",
    "Classification": "evolution",
    "Evolution": "evolution",
    "Genome": "evolution",
    "History": "study",
    "LayerPlan": "schema.operation",
    "MLflowCallback": "study",
    "Mutation": "evolution",
    "NodeOperation": "schema.operation",
    "OptunaSpace": "evolution",
    "Proposal": "study",
    "Regression": "evolution",
    "Rung": "study",
    "Schema": "schema.schema",
    "SchemaExplanation": "schema.explain_schema",
    "SchemaNode": "schema.schema_node",
    "SchemaSpace": "schema_space",
    "Selection": "evolution",
    "SizePlan": "schema.operation",
    "Space": "study",
    "Study": "study",
    "StudyView": "study",
    "SurrogateSpace": "evolution",
    "TensorBoardCallback": "study",
    "TokenShape": "schema.feature_shape",
    "Walk": "schema.drawn_walk",
    "activation": "evolution",
    "ageing": "evolution",
    "anywhere": "schema.growth",
    "attention": "schema.attentions",
    "auto": "schema.schema_node",
    "avg_pool": "schema.pools",
    "batch_size": "evolution",
    "breed": "schema.breeding",
    "chain": "evolution",
    "chance": "evolution",
    "choice": "evolution",
    "conv": "schema.convolutions",
    "conv_transpose": "schema.convolutions",
    "cost": "evolution",
    "cross_attention": "schema.attentions",
    "deeper": "evolution",
    "dense": "schema.features",
    "depthwise": "schema.convolutions",
    "elite": "evolution",
    "fit": "evolution",
    "flatten": "schema.features",
    "global_pool": "schema.pools",
    "gradient_norm": "evolution",
    "graft": "evolution",
    "group_norm": "schema.node_layers",
    "grouped": "schema.convolutions",
    "jacobian_covariance": "evolution",
    "join": "schema.schema_node",
    "keep": "schema.growth",
    "kernel": "evolution",
    "latency": "evolution",
    "learning_rate": "evolution",
    "linear": "schema.growth",
    "max_pool": "schema.pools",
    "mean": "schema.features",
    "module": "schema.own_modules",
    "narrower": "evolution",
    "naswot": "evolution",
    "new": "schema.schema_node",
    "nsga2": "evolution",
    "one_of": "evolution",
    "parabola": "schema.growth",
    "power": "schema.growth",
    "scale": "schema.growth",
    "shallower": "evolution",
    "skip": "evolution",
    "structure_name": "architecture_names",
    "synflow": "evolution",
    "to_tokens": "schema.features",
    "tokens": "schema.feature_shape",
    "tournament": "evolution",
    "universal": "evolution",
    "unskip": "evolution",
    "upsample": "schema.pools",
    "wider": "evolution",
}

if TYPE_CHECKING:
    from naivegraph.search.architecture_names import structure_name as structure_name
    from naivegraph.search.evolution import ChoiceSpace as ChoiceSpace
    from naivegraph.search.evolution import Classification as Classification
    from naivegraph.search.evolution import Evolution as Evolution
    from naivegraph.search.evolution import Genome as Genome
    from naivegraph.search.evolution import Mutation as Mutation
    from naivegraph.search.evolution import OptunaSpace as OptunaSpace
    from naivegraph.search.evolution import Regression as Regression
    from naivegraph.search.evolution import Selection as Selection
    from naivegraph.search.evolution import SurrogateSpace as SurrogateSpace
    from naivegraph.search.evolution import activation as activation
    from naivegraph.search.evolution import ageing as ageing
    from naivegraph.search.evolution import batch_size as batch_size
    from naivegraph.search.evolution import chain as chain
    from naivegraph.search.evolution import chance as chance
    from naivegraph.search.evolution import choice as choice
    from naivegraph.search.evolution import cost as cost
    from naivegraph.search.evolution import deeper as deeper
    from naivegraph.search.evolution import elite as elite
    from naivegraph.search.evolution import fit as fit
    from naivegraph.search.evolution import gradient_norm as gradient_norm
    from naivegraph.search.evolution import graft as graft
    from naivegraph.search.evolution import jacobian_covariance as jacobian_covariance
    from naivegraph.search.evolution import kernel as kernel
    from naivegraph.search.evolution import latency as latency
    from naivegraph.search.evolution import learning_rate as learning_rate
    from naivegraph.search.evolution import narrower as narrower
    from naivegraph.search.evolution import naswot as naswot
    from naivegraph.search.evolution import nsga2 as nsga2
    from naivegraph.search.evolution import one_of as one_of
    from naivegraph.search.evolution import shallower as shallower
    from naivegraph.search.evolution import skip as skip
    from naivegraph.search.evolution import synflow as synflow
    from naivegraph.search.evolution import tournament as tournament
    from naivegraph.search.evolution import universal as universal
    from naivegraph.search.evolution import unskip as unskip
    from naivegraph.search.evolution import wider as wider
    from naivegraph.search.schema.attentions import attention as attention
    from naivegraph.search.schema.attentions import cross_attention as cross_attention
    from naivegraph.search.schema.breeding import breed as breed
    from naivegraph.search.schema.convolutions import conv as conv
    from naivegraph.search.schema.convolutions import conv_transpose as conv_transpose
    from naivegraph.search.schema.convolutions import depthwise as depthwise
    from naivegraph.search.schema.convolutions import grouped as grouped
    from naivegraph.search.schema.drawn_walk import Walk as Walk
    from naivegraph.search.schema.explain_schema import SchemaExplanation as SchemaExplanation
    from naivegraph.search.schema.feature_shape import TokenShape as TokenShape
    from naivegraph.search.schema.feature_shape import tokens as tokens
    from naivegraph.search.schema.features import dense as dense
    from naivegraph.search.schema.features import flatten as flatten
    from naivegraph.search.schema.features import mean as mean
    from naivegraph.search.schema.features import to_tokens as to_tokens
    from naivegraph.search.schema.growth import anywhere as anywhere
    from naivegraph.search.schema.growth import keep as keep
    from naivegraph.search.schema.growth import linear as linear
    from naivegraph.search.schema.growth import parabola as parabola
    from naivegraph.search.schema.growth import power as power
    from naivegraph.search.schema.growth import scale as scale
    from naivegraph.search.schema.node_layers import group_norm as group_norm
    from naivegraph.search.schema.operation import LayerPlan as LayerPlan
    from naivegraph.search.schema.operation import NodeOperation as NodeOperation
    from naivegraph.search.schema.operation import SizePlan as SizePlan
    from naivegraph.search.schema.own_modules import module as module
    from naivegraph.search.schema.pools import avg_pool as avg_pool
    from naivegraph.search.schema.pools import global_pool as global_pool
    from naivegraph.search.schema.pools import max_pool as max_pool
    from naivegraph.search.schema.pools import upsample as upsample
    from naivegraph.search.schema.schema import Schema as Schema
    from naivegraph.search.schema.schema_node import SchemaNode as SchemaNode
    from naivegraph.search.schema.schema_node import auto as auto
    from naivegraph.search.schema.schema_node import join as join
    from naivegraph.search.schema.schema_node import new as new
    from naivegraph.search.schema_space import SchemaSpace as SchemaSpace
    from naivegraph.search.study import Callback as Callback
    from naivegraph.search.study import Candidate as Candidate
    from naivegraph.search.study import History as History
    from naivegraph.search.study import MLflowCallback as MLflowCallback
    from naivegraph.search.study import Proposal as Proposal
    from naivegraph.search.study import Rung as Rung
    from naivegraph.search.study import Space as Space
    from naivegraph.search.study import Study as Study
    from naivegraph.search.study import StudyView as StudyView
    from naivegraph.search.study import TensorBoardCallback as TensorBoardCallback
else:

    def __getattr__(name: str) -> object:
        """Load a public name (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'naivegraph.search' has no attribute '{name}'")
        return getattr(importlib.import_module(f"naivegraph.search.{_HOMES[name]}"), name)


__all__ = [
    "Callback",
    "Candidate",
    "ChoiceSpace",
    "Classification",
    "Evolution",
    "Genome",
    "History",
    "LayerPlan",
    "MLflowCallback",
    "Mutation",
    "NodeOperation",
    "OptunaSpace",
    "Proposal",
    "Regression",
    "Rung",
    "Schema",
    "SchemaExplanation",
    "SchemaNode",
    "SchemaSpace",
    "Selection",
    "SizePlan",
    "Space",
    "Study",
    "StudyView",
    "SurrogateSpace",
    "TensorBoardCallback",
    "TokenShape",
    "Walk",
    "activation",
    "ageing",
    "anywhere",
    "attention",
    "auto",
    "avg_pool",
    "batch_size",
    "breed",
    "chain",
    "chance",
    "choice",
    "conv",
    "conv_transpose",
    "cost",
    "cross_attention",
    "deeper",
    "dense",
    "depthwise",
    "elite",
    "fit",
    "flatten",
    "global_pool",
    "gradient_norm",
    "graft",
    "group_norm",
    "grouped",
    "jacobian_covariance",
    "join",
    "keep",
    "kernel",
    "latency",
    "learning_rate",
    "linear",
    "max_pool",
    "mean",
    "module",
    "narrower",
    "naswot",
    "new",
    "nsga2",
    "one_of",
    "parabola",
    "power",
    "scale",
    "shallower",
    "skip",
    "structure_name",
    "synflow",
    "to_tokens",
    "tokens",
    "tournament",
    "universal",
    "unskip",
    "upsample",
    "wider",
]
