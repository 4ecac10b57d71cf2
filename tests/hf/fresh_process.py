"""Folders opened in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["opened_elsewhere"]

FRESH = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch, transformers
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
if sys.argv[1] == "with":
    import naivegraph.hf
sys.path.insert(0, sys.argv[3])
from tests.hf.families import FAMILIES, outputs
told = {}
for name, folder in json.loads(sys.argv[2]).items():
    family = FAMILIES[name]
    try:
        opened = family.open(folder)
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
    else:
        told[name] = [type(opened).__name__, outputs(opened, family.example).tolist()]
print(json.dumps(told))
"""


def opened_elsewhere(folders: dict[str, str], *, naivegraph: bool) -> dict[str, list[object] | str]:
    """The class and the outputs of each network by its family, or the error.

    Args:
        folders: The folders by the names of families.
        naivegraph: Whether `naivegraph.hf` is imported there.
    """
    root = str(Path(__file__).parents[2])
    word = "with" if naivegraph else "without"
    done = subprocess.run(
        [sys.executable, "-c", FRESH, word, json.dumps(folders), root],
        capture_output=True, text=True, cwd=root, check=True, timeout=200,
    )  # fmt: skip
    found: dict[str, list[object] | str] = json.loads(done.stdout.splitlines()[-1])
    return found
