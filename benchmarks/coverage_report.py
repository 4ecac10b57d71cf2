"""The tables of `benchmarks.coverage`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.common import Row, table

Found = Mapping[str, Any]
MEASURES = {
    "captured": "graph equals the network, recorded and another batch",
    "train mode": "graph equals the network in train mode, same seed",
    "free": "some width may change",
    "pruned": "ratio=0.5: own forward runs, shapes kept, at most 0.6 (0.7) of the parameters left",
    "budget": "params=0.6 (0.7): own forward runs, shapes kept, the budget met",
    "function kept": "random neurons removed against zeroed",
    "to_module": "pruned, as a module of its own",
    "saved": "pruned, saved and loaded into a fresh network",
    "exported": "pruned, torch.export",
    "trained": "pruned, one step of training",
    "time": "timed",
}
KINDS = ("yes", "none", "no", "refused", "failed", "open")
NOTES = """\
Outcomes: "yes"; "none": the unchanged network cannot do it either, or nothing can be compared; "no": done,
but not as it should be; "refused": by an error this package raises on purpose; "failed": by any
other; "open": not measured yet.
Shares: of the parameters' elements, those on neurons that may go, as the operators allow / as the code of the
network allows in place. Times: CPU seconds of one thread at ratio 0.5, the least of up to three interleaved
runs; "steps" is capture to apply, "as called" `ng.prune` with the runs that verify; the peer is Torch-Pruning
1.6.1, its graph and its step.

"""


def outcome(found: Found, measure: str) -> str:
    """What a measure said; why there is nothing where it was not made."""
    if measure in found:
        return str(found[measure]["outcome"])
    if "built" in found:
        return str(found["built"]["outcome"])
    return "open: not measured yet"


def kind(text: str) -> str:
    """The kind of an outcome, its first word."""
    return text.partition(":")[0]


def report(networks: Mapping[str, Found], versions: str) -> str:
    """Everything as Markdown."""
    parts = [
        "# coverage",
        f"**Of {len(networks)} networks**\n\n{table(totals(networks))}",
        f"**Time**\n\n{table(ratios(networks))}",
        f"**Each network**\n\n{table([line(name, found) for name, found in networks.items()])}",
        f"**What does not work, and why**\n\n{table(reasons(networks))}",
        f"**Times by phase, CPU milliseconds**\n\n{table(phases(networks))}",
        f"**What the peer says**\n\n{table(peers(networks))}",
        NOTES + versions,
    ]
    return "\n\n".join(parts) + "\n"


def totals(networks: Mapping[str, Found]) -> list[Row]:
    """How many networks came out how, by measure."""
    rows: list[Row] = []
    for measure, words in MEASURES.items():
        counts = Counter(kind(outcome(found, measure)) for found in networks.values())
        rows.append({"measure": words, **{k: counts[k] for k in KINDS}})
    every = [{kind(outcome(found, m)) for m in MEASURES} for found in networks.values()]
    counts = Counter(
        "no" if k & {"no", "refused", "failed"} else "open" if "open" in k else "yes" for k in every
    )
    rows.append({"measure": "all of these", **{k: counts[k] for k in ("yes", "no", "open")}})
    works = Counter(kind(peer(found).get("outcome", "open")) for found in networks.values())
    rows.append({"measure": "the peer at 50 %: runs, shapes kept", **{k: works[k] for k in KINDS}})
    return rows


def peer(found: Found) -> Found:
    """What was found of the peer."""
    value: Found = found.get("time", {}).get("peer", {})
    return value


def seconds(found: Found) -> dict[str, float]:
    """CPU seconds: of the steps, as called and the peer's, where there are."""
    times, out = found.get("time", {}), {}
    if "phases" in times:
        out["steps"] = sum(times["phases"].values())
    if "as called" in times:
        out["as called"] = times["as called"]["as called"]
    if peer(found).get("outcome") == "yes":
        out["peer"] = peer(found)["cpu s"]
    return out


def ratios(networks: Mapping[str, Found]) -> list[Row]:
    """How the times compare: geometric mean and worst, over the networks on which both work."""
    rows: list[Row] = []
    for way in ("steps", "as called"):
        pairs = [(name, seconds(found)) for name, found in networks.items()]
        found = {name: s[way] / s["peer"] for name, s in pairs if way in s and "peer" in s}
        if not found:
            continue
        worst = sorted(found, key=lambda name: -found[name])[:5]
        rows.append(
            {
                "ours / the peer's": way,
                "networks": len(found),
                "geometric mean": f"{math.exp(sum(map(math.log, found.values())) / len(found)):.2f}",
                "slower than the peer": sum(ratio > 1 for ratio in found.values()),
                "worst": ", ".join(f"{found[name]:.2f} ({name})" for name in worst),
                "longest, s": "{:.2f} ({})".format(*max((s[way], name) for name, s in pairs if way in s)),
            }
        )
    return rows or [{"ours / the peer's": "no network was timed with both"}]


def line(name: str, found: Found) -> Row:
    """One network."""
    free, pruned, kept, times = (
        found.get(key, {}) for key in ("free", "pruned", "function kept", "no such measure")
    )
    times = seconds(found)
    return {
        "network": name,
        "family": found.get("family", ""),
        "parameters": f"{found.get('captured', {}).get('parameters', 0):,}",
        **{measure: kind(outcome(found, measure)) for measure in MEASURES if measure != "time"},
        "on free widths": f"{free['related']:.2f} / {free['in place']:.2f}" if "related" in free else "",
        "left": f"{pruned['params']:.3f} of {pruned['limit']}" if "params" in pruned else "",
        "off": f"{kept['off']:.0e}" if "off" in kept else "",
        **{way: f"{times[way]:.3f}" if way in times else "" for way in ("steps", "as called", "peer")},
        "as called / peer": f"{times['as called'] / times['peer']:.2f}"
        if {"as called", "peer"} <= set(times)
        else "",
    }


def reasons(networks: Mapping[str, Found]) -> list[Row]:
    """Every outcome that is neither yes nor not reached for the same reason, with its reason."""
    rows: list[Row] = []
    for name, found in networks.items():
        for measure in ("built", *MEASURES):
            if measure in found and kind(found[measure]["outcome"]) != "yes":
                text = str(found[measure]["outcome"]).replace("|", "\\|")
                rows.append({"network": name, "measure": measure, "outcome": text})
    return rows or [{"network": "all", "measure": "all", "outcome": "yes"}]


def phases(networks: Mapping[str, Found]) -> list[Row]:
    """Milliseconds of every phase."""
    timed = {
        name: found["time"]["phases"] for name, found in networks.items() if "phases" in found.get("time", {})
    }
    return [
        {"network": name, **{phase: f"{value * 1e3:.1f}" for phase, value in of.items()}}
        for name, of in timed.items()
    ] or [{"network": "none was timed"}]


def peers(networks: Mapping[str, Found]) -> list[Row]:
    """Why the peer does not work where it does not."""
    rows: list[Row] = []
    for name, found in networks.items():
        for way, text in peer(found).get("outcomes", {}).items():
            if text != "yes":
                rows.append({"network": name, "way": way, "outcome": text.replace("|", "\\|")})
    return rows or [{"network": "all", "way": "default", "outcome": "yes"}]
