"""Text networks pruned without training: the sentence encoder MiniLM, and a small GPT trained here.

MiniLM is measured by the Spearman correlation of cosines with the scores of STS-B's test pairs; its
calibration data are sentences of STS-B's training part. The GPT is trained on the characters of Shakespeare,
with a fixed seed, and measured by its perplexity on the last tenth of the text, which neither training nor
calibration sees.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.accuracy_measures import Subject, measured, rows
from benchmarks.common import Row, data_file, minilm, minilm_folder, parser, say, transformers, write

# -- MiniLM --


class SentenceEncoder(nn.Module):
    """MiniLM with the mean over the tokens of a sentence: an embedding `[batch, 384]`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[:, :, None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)  # type: ignore[no-any-return]


def _pairs(data: Path, part: str) -> list[tuple[str, str, float]]:
    with data_file(data, f"text/stsb-en-{part}.csv").open(newline="", encoding="utf-8") as file:
        return [(one, two, float(score)) for one, two, score in csv.reader(file)]


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """The ranks of values; equal ones share the mean of theirs."""
    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks: torch.Tensor = (last - (counts.double() - 1) / 2)[places]
    return ranks


def spearman(one: torch.Tensor, two: torch.Tensor) -> float:
    """The correlation of ranks."""
    return float(torch.corrcoef(torch.stack([_ranks(one), _ranks(two)]))[0, 1])


def sentences(data: Path, seed: int, samples: int, tested: int) -> Subject:
    """MiniLM with its data."""
    tokenizer = transformers().AutoTokenizer.from_pretrained(minilm_folder(), local_files_only=True)

    def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
        found = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    random = torch.Generator().manual_seed(seed)
    train, test = _pairs(data, "train"), _pairs(data, "test")
    texts = list(dict.fromkeys(text for one, two, _ in train for text in (one, two)))
    texts = sorted((texts[i] for i in torch.randperm(len(texts), generator=random)[:samples]), key=len)
    calibration = [tokens(texts[first : first + 32]) for first in range(0, len(texts), 32)]  # alike in length
    asked = [test[i] for i in torch.randperm(len(test), generator=random)[:tested]]
    scores = torch.tensor([score for _, _, score in asked])

    @torch.no_grad()
    def correlation(model: nn.Module) -> float:
        model.eval()
        parts = [
            [model(**tokens([pair[side] for pair in asked[first : first + 50]])) for side in (0, 1)]
            for first in range(0, tested, 50)
        ]
        return spearman(torch.cat([F.cosine_similarity(one, two) for one, two in parts]), scores)

    example = {name: value[:2] for name, value in calibration[0].items()}
    build = lambda: SentenceEncoder(minilm()).eval()  # noqa: E731
    return Subject("MiniLM", build, ((), example), calibration, correlation, "{:.4f}".format)


# -- a small GPT --

_LENGTH = 128


class GptBlock(nn.Module):
    """Attention to what came before, and a feed-forward layer, each on a normalised residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        batch, length, _ = y.shape
        query, key, value = (
            layer(y).view(batch, length, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class Gpt(nn.Module):
    """Four blocks, 128 wide: the next character's logits at every place."""

    def __init__(self, characters: int, width: int = 128, blocks: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(characters, width), nn.Embedding(_LENGTH, width)
        self.blocks = nn.Sequential(*[GptBlock(width, heads) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.characters(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]


def _train(characters: int, text: torch.Tensor, steps: int) -> Gpt:
    """Train by AdamW, one-cycle, batches of 16 windows; the same every time."""
    torch.manual_seed(0)
    net, random = Gpt(characters), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    started = time.process_time()
    for step in range(steps):
        starts = torch.randint(len(text) - _LENGTH - 1, (16,), generator=random)
        windows = text[starts[:, None] + torch.arange(_LENGTH + 1)]
        loss = F.cross_entropy(net(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            spent = time.process_time() - started
            say(f"GPT: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}, {spent:.0f} CPU s")
    return net


def characters(data: Path, out: Path, seed: int, samples: int, steps: int) -> Subject:
    """The GPT with its data; it is trained where the output folder does not hold its weights."""
    raw = data_file(data, "text/tinyshakespeare.txt").read_text(encoding="utf-8")
    known = sorted(set(raw))
    text = torch.tensor([known.index(each) for each in raw])
    train, test = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    cached = out / f"gpt_tinyshakespeare_{steps}.pt"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_train(len(known), train, steps).state_dict(), cached)

    def build() -> nn.Module:
        net = Gpt(len(known))
        net.load_state_dict(torch.load(cached, weights_only=True))
        return net.eval()

    random = torch.Generator().manual_seed(seed + 1)
    starts = torch.randint(len(train) - _LENGTH, (samples,), generator=random)
    calibration = train[starts[:, None] + torch.arange(_LENGTH)]
    count = min((len(test) - 1) // _LENGTH, 400)
    asked = test[: count * _LENGTH + 1]

    @torch.no_grad()
    def perplexity(model: nn.Module) -> float:
        model.eval()
        ids, following = asked[:-1].view(-1, _LENGTH), asked[1:].view(-1, _LENGTH)
        total = 0.0
        for x, y in zip(torch.split(ids, 50), torch.split(following, 50), strict=True):
            total += float(F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum"))
        return math.exp(total / ids.numel())

    return Subject("GPT", build, ((calibration[:2],), {}), calibration, perplexity, "{:.3f}".format)


# -- the table --


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.accuracy_text --data ../shared/data --only GPT")
    arguments.add_argument("--only", nargs="*", default=["MiniLM", "GPT"], help="these networks alone")
    arguments.add_argument(
        "--budgets", nargs="*", type=float, default=[0.75, 0.5], help="fractions of the MACs"
    )
    arguments.add_argument("--criteria", nargs="*", default=["l2", "fisher"], help="criteria")
    arguments.add_argument(
        "--samples", type=int, default=256, help="sentences, or windows of text, to calibrate"
    )
    arguments.add_argument("--steps", type=int, default=600, help="steps of the GPT's training")
    given: Any = arguments.parse_args()
    torch.set_num_threads(given.threads)
    made: dict[str, Callable[[], Subject]] = {
        "MiniLM": lambda: sentences(given.data, given.seed, given.samples, 300),
        "GPT": lambda: characters(given.data, given.out, given.seed, given.samples, given.steps),
    }
    for name in given.only:
        net = made[name]()
        before = net.shown(net.measure(net.build()))
        base: Row = {"network": name, "figure": _FIGURES[name], "before": before, "measured": measured()}
        say(f"{base}")
        found: list[Row] = []
        for budget in given.budgets:
            for criterion in given.criteria:
                found += rows(net, budget, criterion)
                notes = f"{given.samples} samples to choose and refit with; no training after pruning."
                write(
                    given.out,
                    f"accuracy_{name.lower()}",
                    [("Before", [base]), (_FIGURES[name], found)],
                    notes,
                )
    return 0


_FIGURES = {
    "MiniLM": "Spearman correlation on 300 pairs of STS-B (the more the better)",
    "GPT": "Perplexity of a character, 51,200 of them (the less the better)",
}


if __name__ == "__main__":
    raise SystemExit(main())
