"""Hidden layers as parts to look into, cut, stitch, compare and freeze, as `ng.surgery`.

| to | say |
|---|---|
| replace, add to or ablate hidden values in a block | `with ng.surgery.intervene(graph, {"act": h}): ...` |
| make a network of a part | `ng.surgery.cut(graph, inputs=["layer2"], outputs=["fc"])` |
| train some parts alone | `with ng.surgery.frozen(model, except_="head"): ...` |
"""

from naivegraph.surgery.ablation import ablate, add, replace
from naivegraph.surgery.cut import cut
from naivegraph.surgery.freeze import frozen
from naivegraph.surgery.intervene import intervene

__all__ = ["ablate", "add", "cut", "frozen", "intervene", "replace"]
