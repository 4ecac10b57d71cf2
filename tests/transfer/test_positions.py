"""Other positions, against torch's own interpolation and texts that were not too long before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import naivegraph as ng
from tests.oracle import snapshot, unchanged


class Seeing(nn.Module):
    """A transformer of patches that checks the size of images, with a class token."""

    def __init__(self, size: tuple[int, int] = (12, 12)) -> None:
        super().__init__()
        self.size = size
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.grid = (size[0] // 4, size[1] // 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 1 + self.grid[0] * self.grid[1], 8))
        self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, 5)."""
        if tuple(image.shape[-2:]) != self.size:
            raise ValueError(f"images are {self.size}")
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), patches], 1) + self.position
        out: Tensor = self.head(self.mix(tokens)[:, 0])
        return out


@pytest.mark.parametrize("size", [(20, 20), (8, 24), (12, 12), (4, 8)])
@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
def test_positions_of_patches_are_interpolated_behind_a_class_token(
    size: Any, how: str, tmp_path: Any
) -> None:
    torch.manual_seed(0)
    net = Seeing().eval()
    table, old = net.position.detach().clone(), snapshot(net)
    twin, fresh = copy.deepcopy(net), copy.deepcopy(net)
    edit = ng.transfer.positions(net, torch.randn(2, 3, 12, 12), image=size, how=how)
    rows, columns = size[0] // 4, size[1] // 4
    grid = table[:, 1:].reshape(1, 3, 3, 8).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, size=(rows, columns), mode=how, align_corners=False)
    torch.testing.assert_close(net.position[:, 1:], expected.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-6)
    assert torch.equal(net.position[:, :1], table[:, :1])
    assert (net.size, net.grid) == (size, (rows, columns))
    assert (
        f"a grid of {rows} x {columns} patches instead of 3 x 3, {how}, and 1 row in front" in edit.notes[0]
    )
    image = torch.randn(2, 3, *size)
    assert edit.graph is not None
    torch.testing.assert_close(edit.graph(image), net(image))
    ng.replay(twin, [edit.to_json()])
    assert torch.equal(twin(image), net(image))
    ng.save(net, tmp_path / "net.safetensors")
    assert torch.equal(ng.load(fresh, tmp_path / "net.safetensors")(image), net(image))
    edit.undo()
    unchanged(net, old)


def test_a_grid_that_was_not_square_is_stated_by_the_layer_that_reads_the_image() -> None:
    net = Seeing((8, 16)).eval()
    table = net.position.detach().clone()
    ng.transfer.positions(net, torch.randn(1, 3, 8, 16), image=(16, 16))
    grid = table[:, 1:].reshape(1, 2, 4, 8).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=False)
    torch.testing.assert_close(net.position[:, 1:], expected.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-6)


class Reading(nn.Module):
    """A language model that counts its positions in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(10, 6), nn.Embedding(8, 6)
        self.register_buffer("counts", torch.arange(8)[None])
        self.register_buffer("kinds", torch.zeros(1, 8, dtype=torch.long))
        self.kind = nn.Embedding(2, 6)
        self.head = nn.Linear(6, 10)

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, 10)."""
        long = ids.shape[1]
        hidden = self.tokens(ids) + self.places(self.get_buffer("counts")[:, :long])
        out: Tensor = self.head(hidden + self.kind(self.get_buffer("kinds")[:, :long]))
        return out


@pytest.mark.parametrize("length", [5, 8, 13, 20])
def test_texts_that_were_not_too_long_give_what_they_did(length: int) -> None:
    torch.manual_seed(0)
    net, ids = Reading(), torch.randint(10, (2, min(length, 8)))
    before, table, old = net(ids), net.places.weight.detach().clone(), snapshot(net)
    edit = ng.transfer.positions(net, ids[:, :3], length=length, table="places.weight")
    assert torch.equal(net(ids), before)
    assert net(torch.randint(10, (1, length))).shape == (1, length, 10)
    assert net.get_buffer("counts").tolist() == [list(range(length))]
    assert net.places.num_embeddings == length
    assert torch.equal(net.places.weight, table[torch.arange(length) % 8])
    if length != 8:
        edit.undo()
    unchanged(net, old)


def test_positions_are_interpolated_along_a_line_behind_an_offset() -> None:
    net, ids = Reading(), torch.tensor([[1, 2]])
    table = net.places.weight.detach().clone()
    ng.transfer.positions(net, ids, length=12, table="places.weight", how="linear", before=2)
    line = table[2:].T[None]
    expected = functional.interpolate(line, size=10, mode="linear", align_corners=True)[0].T
    torch.testing.assert_close(net.places.weight[2:].detach(), expected)
    assert torch.equal(net.places.weight[:2], table[:2])


class Masked(Reading):
    """A language model with a mask that has a row and a column for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(8, 8).tril())

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, 10)."""
        long = ids.shape[1]
        return self.get_buffer("mask")[:long, :long] @ super().forward(ids)


@pytest.mark.parametrize(
    ("net", "example", "more", "message"),
    [
        (Seeing(), torch.randn(1, 3, 12, 12), {}, "one of length= and image="),
        (Seeing(), torch.randn(1, 3, 12, 12), {"image": 12}, "give a height and a width in pixels"),
        (Seeing(), torch.randn(1, 3, 12, 12), {"image": (3, 12)}, "has no patch for 'patches'"),
        (
            Seeing(), torch.randn(1, 3, 12, 12), {"image": (16, 16), "grid": (4, 4)},
            "no parameter with a row for each of 4 x 4 patches is added to something or looked up",
        ),
        (
            Seeing(), torch.randn(1, 3, 12, 12),
            {"image": (16, 16), "table": "position", "before": 3},
            "position has 10 rows, which are not 3 x 3 patches and 3 rows in front: state the grid",
        ),
        (Seeing(), torch.randn(1, 3, 12, 12), {"image": (16, 16), "how": "linear"}, "how='linear'"),
        (Reading(), torch.tensor([[1]]), {"image": (4, 4)}, "0 convolutions read an image"),
        (Reading(), torch.tensor([[1]]), {"length": 9}, "2 tables are looked up by something else"),
        (Reading(), torch.tensor([[1]]), {"length": 9, "table": "place"}, "no parameter 'place'"),
        (Reading(), torch.tensor([[1]]), {"length": 2, "table": "places.weight", "before": 2}, "before=2"),
        (Masked(), torch.tensor([[1]]), {"length": 9, "table": "places.weight"}, "mask has 8 rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_changes(
    net: nn.Module, example: Any, more: Any, message: str
) -> None:
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.positions(net, example, **more)
    unchanged(net, old)


class Relative(nn.Module):
    """An attention with a number for each distance of two tokens, picked as T5 or as Swin do."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.patches = way, nn.Conv2d(3, 8, 4, stride=4)
        self.tokens, self.distances = nn.Embedding(9, 8), nn.Embedding(5, 1)
        self.table = nn.Parameter(torch.randn(5, 1))
        self.register_buffer("pairs", (torch.arange(9)[:, None] - torch.arange(9)).clamp(-2, 2) + 2)
        self.register_buffer("turns", torch.rand(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens, or images, to scores of pairs."""
        hidden = self.tokens(x) if x.dim() == 2 else self.patches(x).flatten(2).transpose(1, 2)
        pairs = self.get_buffer("pairs")[: hidden.shape[1], : hidden.shape[1]]
        if self.way == "rotary":
            hidden = hidden * self.get_buffer("turns").cos().repeat(2)
        scores = hidden @ hidden.transpose(1, 2)
        if self.way == "looked up":
            scores = scores + self.distances(pairs)[..., 0]
        elif self.way == "picked":
            scores = scores + self.table[pairs.reshape(-1)].reshape(pairs.shape)
        return scores.softmax(-1) @ hidden  # type: ignore[no-any-return]


class Sinusoids(Reading):
    """A language model with waves beside its table of positions, a row for each."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", torch.rand(8, 6))

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, 10)."""
        return super().forward(ids) + self.get_buffer("waves")[: ids.shape[1]].sum(-1, keepdim=True)


IDS, IMAGE = torch.tensor([[1, 5, 2, 2]]), torch.randn(1, 3, 12, 12)


@pytest.mark.parametrize(
    ("net", "example", "more", "message"),
    [
        (Relative("looked up"), IDS, {"length": 9}, r"distances.weight does not count positions"),
        (
            Relative("looked up"), IDS, {"length": 9, "table": "distances.weight"},
            r"what is looked up in distances.weight on the example does not count positions",
        ),
        (
            Relative("looked up"), IDS, {"length": 9, "table": "tokens.weight"},
            r"what is looked up in tokens.weight on the example does not count positions",
        ),
        (Relative("picked"), IDS, {"length": 9}, r"table \(of 'getitem_1'\) has rows for relative positions"),
        (Relative("picked"), IDS, {"length": 9, "table": "table"}, r"picks rows of table by pairs"),
        (Relative("picked"), IMAGE, {"image": (16, 16)}, r"relative positions, as table \(of 'getitem_1'\)"),
        (Relative("rotary"), IDS, {"length": 9}, r"turns is worked out by the code, as rotary positions are"),
        (Relative("rotary"), IMAGE, {"image": (16, 16)}, r"positions that the code works out, as turns"),
        (Sinusoids(), IDS, {"length": 9}, r"waves has 8 rows, as there are positions"),
        (Masked(), IDS, {"length": 9}, r"mask has 8 rows, as there are positions"),
    ],
)  # fmt: skip
def test_positions_that_are_no_table_of_rows_are_named(
    net: nn.Module, example: Any, more: Any, message: str
) -> None:
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.positions(net, example, **more)
    unchanged(net, old)


def test_the_table_that_counts_positions_on_the_example_is_found() -> None:
    net = Reading()
    edit = ng.transfer.positions(net, IDS, length=12)
    assert edit.asked["positions"] == "places.weight"
    assert net.places.num_embeddings == 12
