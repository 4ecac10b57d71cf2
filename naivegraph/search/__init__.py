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
    "wider": "evolution",
    "unskip": "evolution",
    "universal": "evolution",
    "tournament": "evolution",
    "synflow": "evolution",
    "skip": "evolution",
    "shallower": "evolution",
    "one_of": "evolution",
    "nsga2": "evolution",
    "naswot": "evolution",
    "narrower": "evolution",
    "learning_rate": "evolution",
    "kernel": "evolution",
    "jacobian_covariance": "evolution",
    "gradient_norm": "evolution",
    "graft": "evolution",
    "elite": "evolution",
    "deeper": "evolution",
    "choice": "evolution",
    "chance": "evolution",
    "chain": "evolution",
    "batch_size": "evolution",
    "ageing": "evolution",
    "activation": "evolution",
    "Selection": "evolution",
    "Mutation": "evolution",
    "Genome": "evolution",
    "Evolution": "evolution",
    "Callback": "study",
    "Candidate": "study",
    "History": "study",
    "LayerPlan": "schema.operation",
    "NodeOperation": "schema.operation",
    "Proposal": "study",
    "Rung": "study",
    "Schema": "schema.schema",
    "SchemaExplanation": "schema.explain_schema",
    "SchemaNode": "schema.schema_node",
    "SizePlan": "schema.operation",
    "Space": "study",
    "Study": "study",
    "TensorBoardCallback": "study",
    "MLflowCallback": "study",
    "StudyView": "study",
    "TokenShape": "schema.feature_shape",
    "Walk": "schema.drawn_walk",
    "anywhere": "schema.growth",
    "attention": "schema.attentions",
    "auto": "schema.schema_node",
    "avg_pool": "schema.pools",
    "breed": "schema.breeding",
    "conv": "schema.convolutions",
    "conv_transpose": "schema.convolutions",
    "cross_attention": "schema.attentions",
    "dense": "schema.features",
    "depthwise": "schema.convolutions",
    "flatten": "schema.features",
    "global_pool": "schema.pools",
    "group_norm": "schema.node_layers",
    "grouped": "schema.convolutions",
    "join": "schema.schema_node",
    "keep": "schema.growth",
    "linear": "schema.growth",
    "max_pool": "schema.pools",
    "mean": "schema.features",
    "module": "schema.own_modules",
    "new": "schema.schema_node",
    "parabola": "schema.growth",
    "power": "schema.growth",
    "scale": "schema.growth",
    "structure_name": "architecture_names",
    "to_tokens": "schema.features",
    "tokens": "schema.feature_shape",
    "upsample": "schema.pools",
}

if TYPE_CHECKING:
    from naivegraph.search.evolution import wider as wider
    from naivegraph.search.evolution import unskip as unskip
    from naivegraph.search.evolution import universal as universal
    from naivegraph.search.evolution import tournament as tournament
    from naivegraph.search.evolution import synflow as synflow
    from naivegraph.search.evolution import skip as skip
    from naivegraph.search.evolution import shallower as shallower
    from naivegraph.search.evolution import one_of as one_of
    from naivegraph.search.evolution import nsga2 as nsga2
    from naivegraph.search.evolution import naswot as naswot
    from naivegraph.search.evolution import narrower as narrower
    from naivegraph.search.evolution import learning_rate as learning_rate
    from naivegraph.search.evolution import kernel as kernel
    from naivegraph.search.evolution import jacobian_covariance as jacobian_covariance
    from naivegraph.search.evolution import gradient_norm as gradient_norm
    from naivegraph.search.evolution import graft as graft
    from naivegraph.search.evolution import elite as elite
    from naivegraph.search.evolution import deeper as deeper
    from naivegraph.search.evolution import choice as choice
    from naivegraph.search.evolution import chance as chance
    from naivegraph.search.evolution import chain as chain
    from naivegraph.search.evolution import batch_size as batch_size
    from naivegraph.search.evolution import ageing as ageing
    from naivegraph.search.evolution import activation as activation
    from naivegraph.search.evolution import Selection as Selection
    from naivegraph.search.evolution import Mutation as Mutation
    from naivegraph.search.evolution import Genome as Genome
    from naivegraph.search.evolution import Evolution as Evolution
    from naivegraph.search.architecture_names import structure_name as structure_name
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
    "wider",
    "unskip",
    "universal",
    "tournament",
    "synflow",
    "skip",
    "shallower",
    "one_of",
    "nsga2",
    "naswot",
    "narrower",
    "learning_rate",
    "kernel",
    "jacobian_covariance",
    "gradient_norm",
    "graft",
    "elite",
    "deeper",
    "choice",
    "chance",
    "chain",
    "batch_size",
    "ageing",
    "activation",
    "Selection",
    "Mutation",
    "Genome",
    "Evolution",
    "Callback",
    "Candidate",
    "History",
    "LayerPlan",
    "MLflowCallback",
    "NodeOperation",
    "Proposal",
    "Rung",
    "Schema",
    "SchemaExplanation",
    "SchemaNode",
    "SizePlan",
    "Space",
    "Study",
    "StudyView",
    "TensorBoardCallback",
    "TokenShape",
    "Walk",
    "anywhere",
    "attention",
    "auto",
    "avg_pool",
    "breed",
    "conv",
    "conv_transpose",
    "cross_attention",
    "dense",
    "depthwise",
    "flatten",
    "global_pool",
    "group_norm",
    "grouped",
    "join",
    "keep",
    "linear",
    "max_pool",
    "mean",
    "module",
    "new",
    "parabola",
    "power",
    "scale",
    "structure_name",
    "to_tokens",
    "tokens",
    "upsample",
]
