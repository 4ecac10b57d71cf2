"""Branches left out together with neurons: those that are found, the certificate, and what ResNet-56 keeps.

Networks of random weights are pruned to half of their multiply-accumulates with `depth=True` and without
calibration data; that shows what is found and how long the program takes. ResNet-56 with its published
CIFAR-10 weights is pruned to half of them, and to 60 % of its latency, by neurons, by branches and
by both, with 512 images of the training set as calibration data; its answers to the test images are counted
without and with the refit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.cifar_resnet import correct, images
from benchmarks.common import Row, gap, parser, resnet56, say, timm, torchvision, transformers, write
from benchmarks.unet import UNet
from naivegraph.costs import cost_named
from naivegraph.prune.branch_values import branch_values
from naivegraph.prune.branches import find_branches
from naivegraph.prune.budget_program import pose
from naivegraph.prune.choose_sizes import SolveOptions, choose_sizes
from naivegraph.prune.floors import floors
from naivegraph.utility import utilities
from naivegraph.utility.criteria import CriterionData
from naivegraph.widths import constraints_of, relate

Made = tuple[nn.Module, tuple[Any, ...]]


def bert() -> Made:
    """A BERT of 6 layers, of the sizes of MiniLM."""
    config = transformers().BertConfig(
        num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536, vocab_size=2000
    )
    return transformers().BertModel(config), (torch.arange(32).reshape(2, 16),)


def networks(data: Any) -> dict[str, Callable[[], Made]]:
    """The networks, with examples."""
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    small = image[:, :, :32, :32]
    return {
        "ResNet-56 (CIFAR)": lambda: (resnet56(data), (small,)),
        "ResNet-50": lambda: (torchvision().resnet50(), (image,)),
        "MobileNetV3-large": lambda: (torchvision().mobilenet_v3_large(), (image,)),
        "ViT-tiny": lambda: (timm().create_model("vit_tiny_patch16_224"), (image,)),
        "BERT, 6 layers": bert,
        "UNet": lambda: (UNet(), (small,)),
    }


def program_row(name: str, make: Callable[[], Made]) -> Row:
    """What is found in a network, and how the program over it goes."""
    say(name)
    torch.manual_seed(0)
    net, args = make()
    graph = ng.capture(net.eval(), args)
    widths = relate(graph)
    branches = find_branches(widths)
    row: dict[str, object] = {"network": name, "branches": len(branches)}
    if not branches:
        return row
    values = utilities(widths)
    started = time.perf_counter()
    worth, _ = branch_values(widths, branches, values, "l2", CriterionData())
    measured = time.perf_counter() - started
    program = pose(widths, constraints_of(widths), {}, floors(widths, None))
    program.let_go(branches, worth)
    options = SolveOptions(None, 1, 5e-4, 20.0, "highs", lambda sentence: None, True)
    started, cpu = time.perf_counter(), time.process_time()
    found = choose_sizes(program, values, {cost_named("macs"): 0.5}, options)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    edit = ng.prune(net, args, macs=0.5, depth=True)
    return row | {
        "left out": len(found.dropped),
        "gap": f"{found.solution.certificate.gap:.4%}",
        "program, s (CPU s)": f"{wall:.2f} ({cpu:.2f})",
        "measuring, s": f"{measured:.1f}",
        "in its own class": "yes" if edit.graph is None else "no, its graph",
    }


def accuracy_rows(data: Any, **budget: Any) -> list[Row]:
    """ResNet-56 within a budget, by neurons, by branches and by both."""
    (train, _), test = images(data)
    generator = torch.Generator().manual_seed(0)
    calibration = train[torch.randperm(len(train), generator=generator)[:512]]
    net = resnet56(data)
    rows: list[Row] = [
        {
            "pruned by": "nothing",
            "test images named rightly": f"{correct(net, test)} of {len(test[1])}",
            "branches left out": "",
            "parameters left": "",
            "gap": "",
            "seconds": "",
        }
    ]
    ways: dict[str, dict[str, Any]] = {
        "neurons": {}, "branches": {"depth": True, "at_least": 1.0}, "both": {"depth": True},
    }  # fmt: skip
    for way, options in ways.items():
        for refit in (False, True):
            say(f"ResNet-56 by {way}, {'with' if refit else 'without'} refit")
            pruned = copy.deepcopy(net)
            started = time.perf_counter()
            row: dict[str, object] = {"pruned by": f"{way}{', refitted' * refit}"}
            try:
                edit = ng.prune(
                    pruned, calibration[:1], calibration=calibration, refit=refit, **budget, **options
                )
            except ng.InfeasibleError as error:
                rows.append(row | {"test images named rightly": f"cannot be: {str(error)[:70]}"})
                continue
            seconds = time.perf_counter() - started
            measured = {} if edit.latency is None else {"latency": f"{edit.latency.share:.1%}"}
            rows.append(
                row
                | {
                    "test images named rightly": f"{correct(pruned, test)} of {len(test[1])}",
                    "branches left out": len(edit.dropped),
                    "parameters left": f"{edit.after.params / edit.before.params:.1%}",
                    "gap": f"{gap(edit):.3%}",
                    "seconds": f"{seconds:.0f}",
                }
                | measured
            )
    return rows


def main() -> None:
    """Run all of it."""
    asked = parser(__doc__, "python -m benchmarks.depth --data ../shared/data").parse_args()
    torch.set_num_threads(asked.threads)
    rows = [program_row(name, make) for name, make in networks(asked.data).items()]
    sections = [
        ("Half of the multiply-accumulates, random weights (of ResNet-56 the published ones)", rows),
        ("ResNet-56 at half of its multiply-accumulates", accuracy_rows(asked.data, macs=0.5)),
        ("ResNet-56 at 60 % of its latency, batch 1, eager", accuracy_rows(asked.data, latency=0.6)),
    ]
    write(asked.out, "depth", sections)


if __name__ == "__main__":
    main()
