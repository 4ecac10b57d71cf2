"""The whole path on real data: train, prune to half the work, fine-tune, save, load again.

The data are scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels, written by people, collected by
E. Alpaydin and C. Kaynak (UCI machine learning repository, 1998).
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.learning.learners import digits as all_digits
from naivegraph.progress import working

SEED = 0
TEST_IMAGES = 500
BATCH = 64


class ConvBlock(nn.Module):
    """Two convolutions and a way around them.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: 2 halves height and width.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.around = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.around(x))


class DigitsNet(nn.Module):
    """A small residual network for images of 8 by 8 pixels.

    Args:
        width: channels of the first half; the second half has twice as many.
        classes: numbers that come out.

    Examples:
        >>> DigitsNet(width=4)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            ConvBlock(width, width, 1),
            ConvBlock(width, width, 1),
            ConvBlock(width, 2 * width, 2),
            ConvBlock(2 * width, 2 * width, 1),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, 8, 8) to (batch, classes)."""
        features: Tensor = self.blocks(self.stem(x))
        out: Tensor = self.head(features.mean(dim=(2, 3)))
        return out


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, 8, 8) with values from 0 to 1, and labels (n,), for training and for testing."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Measurement:
    """Measurements of one state of the network."""

    name: str
    correct: int
    costs: ng.Costs
    milliseconds: float


@dataclass(frozen=True)
class DemoResult:
    """Measurements before and after pruning and after fine-tuning; and whether a loaded copy is equal."""

    rows: tuple[Measurement, Measurement, Measurement]
    equal: bool


def load_digits() -> Digits:
    """Load the images, always split the same way.

    Raises:
        MissingPackageError: scikit-learn, which brings the images, is not installed.
    """
    images, labels = all_digits(flat=False).tensors
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Digits(images[train], labels[train], images[test], labels[test])


def train(
    model: nn.Module,
    digits: Digits,
    epochs: int,
    rate: float,
    say: Callable[[str], None] = lambda words: None,
) -> None:
    """Train a network in place, always the same way; each image is moved by up to one pixel.

    Args:
        model: the network.
        digits: the data.
        epochs: how often each image is seen.
        rate: the largest learning rate, reached after a third of the way.
        say: told the epoch at each start of one.
    """
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    count = len(digits.train_labels)
    batches = -(-count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs * batches)
    model.train()
    for epoch in range(epochs):
        say(f"epoch {epoch + 1} of {epochs}")
        for batch in torch.randperm(count, generator=generator).chunk(batches):
            top, left = torch.randint(0, 3, (2,), generator=generator).tolist()
            images = F.pad(digits.train_images[batch], (1, 1, 1, 1))[:, :, top : top + 8, left : left + 8]
            loss = F.cross_entropy(model(images), digits.train_labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()


def count_correct(model: nn.Module, digits: Digits) -> int:
    """Count the test images that a network in eval mode names correctly."""
    with torch.no_grad():
        return int((model(digits.test_images).argmax(dim=1) == digits.test_labels).sum())


def measure_latency(model: nn.Module, images: Tensor, repeats: int = 15) -> float:
    """Measure the time of one run in milliseconds: the median of some, after a few to warm up."""
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 3):
            start = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[3:])


def run(
    console: Console,
    *,
    macs: float = 0.5,
    output: Path | None = None,
    epochs: int = 12,
    tuning_epochs: int = 8,
) -> DemoResult:
    """Run the demo, and write down what happens.

    Args:
        console: where to write.
        macs: the fraction of the multiply-accumulates to keep.
        output: the `.safetensors` file to write; a temporary one if None.
        epochs: how long to train.
        tuning_epochs: how long to fine-tune.

    Raises:
        NaivegraphError: scikit-learn is missing, or the budget cannot be met.
    """
    start = time.perf_counter()
    with _one_thread():
        outcome = _run(console, macs, output, epochs, tuning_epochs)
    console.print(f"{time.perf_counter() - start:.0f} s in all.", highlight=False)
    return outcome


def _run(console: Console, macs: float, output: Path | None, epochs: int, tuning_epochs: int) -> DemoResult:
    """Do what `run` promises."""
    digits = load_digits()
    images = f"{len(digits.train_labels):,} handwritten digits"
    torch.manual_seed(SEED)
    model = DigitsNet()
    with _stage(console, f"Training a residual network on {images}") as say:
        train(model, digits, epochs, 5e-3, say)
    example = digits.test_images[:1]
    before = _measure(model, digits)
    with _stage(console, f"Pruning it to {macs:.0%} of its multiply-accumulates") as say:
        edit = ng.prune(model, (example,), macs=macs, progress=say)
    after = _measure(model, digits)
    with _stage(console, "Fine-tuning what is left") as say:
        train(model, digits, tuning_epochs, 3e-3, say)
    tuned = _measure(model, digits)
    rows = (
        Measurement("before", before[0], edit.before, before[1]),
        Measurement("pruned", after[0], edit.after, after[1]),
        Measurement("fine-tuned", tuned[0], edit.after, tuned[1]),
    )
    console.print(_table(rows), in_words(edit), highlight=False)
    return DemoResult(rows, _save_and_load(console, model, digits, output))


def in_words(edit: ng.Edit) -> str:
    """Say in words what the certificate of an edit means.

    Args:
        edit: what `ng.prune` returned.
    """
    certificate = edit.certificate
    if certificate is None:
        return "Nothing was chosen, so there is nothing to certify."
    verdict = f"at most {certificate.gap:.3%} below the best" if certificate.gap else "the best there is"
    return (
        f"Certificate: the network keeps a utility of {certificate.value:,.6g}. No choice of sizes within "
        f"the budget keeps more than {certificate.bound:,.6g}, so this one is {verdict}."
    )


def _measure(model: nn.Module, digits: Digits) -> tuple[int, float]:
    """Measure what a table's row needs: right answers, and milliseconds for all test images."""
    return count_correct(model, digits), measure_latency(model, digits.test_images)


def _table(rows: tuple[Measurement, ...]) -> Table:
    """Lay out what was measured."""
    table = Table(caption=f"accuracy on {TEST_IMAGES} images never trained on; latency for all on one core")
    table.add_column("network")
    first = rows[0].costs
    for title in ("accuracy", *(title for title, _ in first.shown().values()), "latency"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.correct / TEST_IMAGES:.1%}",
            *(
                f"{shown} ({row.costs[name] / first[name]:.1%})"
                for name, (_, shown) in row.costs.shown().items()
            ),
            f"{row.milliseconds:.1f} ms",
        )
    return table


def _save_and_load(console: Console, model: nn.Module, digits: Digits, output: Path | None) -> bool:
    """Save a network, load it into a fresh one, and compare what they say to the test images."""
    with tempfile.TemporaryDirectory() as folder:
        path = output or Path(folder) / "digits.safetensors"
        ng.save(model, path)
        fresh = DigitsNet().eval()
        ng.load(fresh, path)
        size = path.stat().st_size
    with torch.no_grad():
        equal = torch.equal(fresh(digits.test_images), model(digits.test_images))
    where = path if output else "a temporary file"
    verdict = "the same outputs, bit for bit" if equal else "DIFFERENT outputs"
    console.print(
        f"Saved in {where} ({size:,} bytes) and loaded into a fresh network: {verdict}.", highlight=False
    )
    return equal


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one core.

    For layers this small a second one gains a quarter at best; where other programs keep the cores busy,
    waiting for each other at the end of every layer makes training many times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _stage(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Write what is done and, at its end, how long it took."""
    start = time.perf_counter()
    with working(what) as say:
        yield lambda words: say(f"{what}: {words}")
    console.print(f"{what}: {time.perf_counter() - start:.1f} s", highlight=False)
