"""Arguments to try every operator on that has a record: small, of double precision, of sizes that differ."""

from tests.operators.samples.elementwise import ELEMENTWISE
from tests.operators.samples.layers import LAYERS
from tests.operators.samples.shapes import SHAPED
from tests.operators.samples.values import VALUES

__all__ = ["SAMPLES"]

SAMPLES = {**ELEMENTWISE, **SHAPED, **LAYERS, **VALUES}
