"""Code that `torch.compile` made, for the sizes of before an edit."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["forget_compiled_code"]


def forget_compiled_code() -> None:
    """Make `torch.compile` start anew, if it compiled anything in this process.

    It keeps at most eight versions of a function's code, and after as many sizes would run the network
    uncompiled. Other compiled networks are compiled once more when they are next called.
    """
    frames: Any = sys.modules.get("torch._dynamo.convert_frame")
    codes = getattr(frames, "input_codes", None)
    if getattr(codes, "seen", None):
        sys.modules["torch._dynamo"].reset()
