"""Hidden layers as parts to look into, cut, stitch, compare and freeze, as `ng.surgery`.

| to | say |
|---|---|
| train some parts alone | `with ng.surgery.frozen(model, except_="head"): ...` |
"""

from naivegraph.surgery.freeze import frozen

__all__ = ["frozen"]
