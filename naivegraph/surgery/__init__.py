"""Hidden layers as parts to look into, cut, stitch, compare and freeze, as `ng.surgery`.

| to | say |
|---|---|
| replace, add to or ablate hidden values in a block | `with ng.surgery.intervene(graph, {"act": h}): ...` |
| make a network of a part | `ng.surgery.cut(graph, inputs=["layer2"], outputs=["fc"])` |
| fold batch norms into the layers before them | `ng.surgery.fold_norms(graph)` |
| join two networks by a linear layer | `ng.surgery.stitch(a, "layer2", b, "layer2", data=loader)` |
| put the neurons of a network in the order of another's | `ng.surgery.align(one, two, x)` |
| average two networks, norms measured anew | `ng.surgery.average(one, two, data=loader)` |
| merge networks into one, as an ensemble | `ng.surgery.merge_models({"a": one, "b": two}, outputs="mean")` |
| keep what fine-tuning changed, add it to others | `ng.surgery.delta(before, after).apply(model)` |
| compare the layers of two networks | `ng.surgery.similarity(a, b, loader)` |
| train some parts alone | `with ng.surgery.frozen(model, except_="head"): ...` |
"""

from naivegraph.surgery.ablation import ablate, add, replace
from naivegraph.surgery.align import align
from naivegraph.surgery.average import average
from naivegraph.surgery.cut import cut
from naivegraph.surgery.delta import WeightDelta, delta
from naivegraph.surgery.fold_norms import fold_norms
from naivegraph.surgery.freeze import frozen
from naivegraph.surgery.intervene import intervene
from naivegraph.surgery.merge_models import merge_models
from naivegraph.surgery.similarity import Similarity, similarity
from naivegraph.surgery.stitch import Stitch, stitch
from naivegraph.surgery.stitch_fits import rank

__all__ = [
    "Similarity",
    "Stitch",
    "WeightDelta",
    "ablate",
    "add",
    "align",
    "average",
    "cut",
    "delta",
    "fold_norms",
    "frozen",
    "intervene",
    "merge_models",
    "rank",
    "replace",
    "similarity",
    "stitch",
]
