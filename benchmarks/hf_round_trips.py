"""Networks of transformers pruned, saved and opened in another process: do they give the same outputs?

Every network of transformers in a list (as that of `benchmarks.coverage`) is pruned to 60 % of its parameters
(or 70, 80 %, where as many are in its outputs) and saved by `naivegraph.hf`; then those that plain
transformers is to open are pruned to half with `uniform=True` and saved by their own `save_pretrained`. Two
other processes, of which the second knows nothing of naivegraph, open the folders and compare outputs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

import naivegraph as ng
from benchmarks.common import ROOT, Row, parser, say, transformers, write
from benchmarks.coverage import LIST
from benchmarks.zoo import HEADS, network

UNIFORM = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2"), "AutoModelForCausalLM"),
    "bert": "AutoModelForSequenceClassification",
    "vit": "AutoModelForImageClassification",
}
SHARES = (0.6, 0.7, 0.8)
HALF = 0.5

# -- in the other processes --


def opened(folder: Path, *, plain: bool) -> None:
    """Open a folder's networks and print the largest difference of each, or the error, as JSON."""
    library = transformers()
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    if not plain:
        import naivegraph.hf  # noqa: F401
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        told = torch.load(path / "outputs.pt")
        try:
            auto = getattr(library, told["auto"])
            model = auto.from_pretrained(path)
            found[path.name] = [
                type(model).__name__,
                difference(outputs(model, told["example"]), told["outputs"]),
            ]
        except Exception as error:
            found[path.name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def outputs(model: Any, example: Any) -> list[torch.Tensor]:
    """All tensors that a network returns."""
    args, kwargs = example
    with torch.no_grad():
        found = model(*args, **kwargs)
    return [leaf for leaf in tree_leaves(dict(found)) if isinstance(leaf, torch.Tensor)]


def difference(mine: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The largest difference between two lists of tensors."""
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(mine, other, strict=True))


# -- in this process --


def saved(family: str, folder: Path, *, uniform: bool) -> dict[str, object]:
    """Prune a network, save it, and write down what it gives."""
    import naivegraph.hf as hf

    started = time.perf_counter()
    try:
        made = network(f"hf:{family}")
        torch.manual_seed(0)
        model: Any = made.build()
        if uniform:  # with a head, as the width is the output of others
            model = getattr(transformers(), UNIFORM[family]).from_config(model.config).eval()
        for parameter in model.parameters():  # as they start, outputs hardly depend on what layers do
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        example = made.example(0)
        edit = pruned(model, example, (HALF,) if uniform else SHARES, uniform=uniform)
        folder.mkdir(parents=True)
        if uniform:
            model.save_pretrained(folder)
        else:
            hf.save_pretrained(model, folder, edit=edit)
        told = {
            "auto": UNIFORM[family] if uniform else HEADS.get(family, "AutoModel"),
            "example": example,
            "outputs": outputs(model, example),
        }
        torch.save(told, folder / "outputs.pt")
    except (ng.NaivegraphError, ValueError, RuntimeError) as error:
        return _row(family, difference=str(error)[:400])
    left = f"{edit.after.params / edit.before.params:.1%}"
    return _row(family, left=left, seconds=f"{time.perf_counter() - started:.1f}")


def pruned(model: Any, example: Any, shares: Sequence[float], *, uniform: bool) -> ng.Edit:
    """Prune to the first of these shares of the parameters that the network can have."""
    *others, last = shares
    for share in others:
        try:
            return ng.prune(model, *example, params=share, uniform=uniform)
        except ng.InfeasibleError:
            continue
    return ng.prune(model, *example, params=last, uniform=uniform)


def _row(family: str, *, left: str = "", difference: str = "", seconds: str = "") -> dict[str, object]:
    return {
        "network": family,
        "class": "",
        "parameters left": left,
        "largest difference": difference,
        "pruned and saved, s": seconds,
    }


def round_trips(families: Iterable[str], folder: Path, *, uniform: bool) -> list[Row]:
    """The rows of a table."""
    folder.mkdir()
    rows = []
    for family in families:
        say(f"{family}{', uniform' if uniform else ''}")
        rows.append(saved(family, folder / family, uniform=uniform))
    word = "--open-plain" if uniform else "--open"
    say("opening them in another process")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.hf_round_trips", word, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [{**row, **_told(found.get(row["network"]))} for row in rows]


def _told(found: Any) -> dict[str, object]:
    if found is None:
        return {}
    if isinstance(found, str):
        return {"largest difference": found[:300]}
    kind, largest = found
    return {"class": kind, "largest difference": f"{largest:.1e}"}


def main() -> None:
    """Write the tables."""
    options = parser(__doc__, "python -m benchmarks.hf_round_trips --out /tmp/results", threads=1)
    options.add_argument("--models", type=Path, default=LIST, help="JSON file with the list of networks")
    options.add_argument("--open", type=Path, help="open the folders in this folder (used by itself)")
    options.add_argument("--open-plain", type=Path, help="the same without naivegraph.hf")
    chosen = options.parse_args()
    if chosen.open is not None or chosen.open_plain is not None:
        opened(chosen.open or chosen.open_plain, plain=chosen.open is None)
        return
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    names = [model["name"] for model in json.loads(chosen.models.read_text())["models"]]
    families = [name.removeprefix("hf:") for name in names if name.startswith("hf:")]
    with tempfile.TemporaryDirectory() as folder:
        any_size = round_trips(families, Path(folder, "edited"), uniform=False)
        plain = round_trips(UNIFORM, Path(folder, "plain"), uniform=True)
    sections = [
        (f"Saved by naivegraph.hf at {SHARES[0]:.0%} of the parameters, opened in another process", any_size),
        (f"Pruned to {HALF:.0%} with uniform=True, opened by plain transformers in another process", plain),
    ]
    write(chosen.out, "hf_round_trips", sections, "Random weights; small networks of each family.")


if __name__ == "__main__":
    main()
