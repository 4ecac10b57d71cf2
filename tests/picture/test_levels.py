"""Modules as boxes: which there are, and which are open at first."""

import torch
from torch import nn

import naivegraph as ng
from naivegraph.picture.levels import levels_of, opened
from tests.picture.nets import stages


def test_boxes_are_the_modules_with_several_calls() -> None:
    picture = stages().picture()
    boxes = levels_of(picture)
    assert [(box.path, box.label, box.what) for box in boxes] == [
        ("", "", "Stages"),
        ("first", "first", "Sequential"),
        ("first.0", "0", "Block"),
        ("first.1", "1", "Block"),
        ("second", "second", "Sequential"),
        ("second.0", "0", "Block"),
        ("second.1", "1", "Block"),
    ]
    for box in boxes:
        for place in box.vertices:
            assert picture.vertices[place].name.startswith(box.path)
    assert sorted(place for box in boxes for place in box.vertices) == list(range(len(picture.vertices)))


def test_a_module_that_is_called_twice_has_two_boxes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(self.inner(torch.tanh(self.inner(x))))
            return out

    boxes = levels_of(ng.capture(Twice(), torch.ones(1, 4)).picture())
    assert [box.path for box in boxes] == ["", "inner", "inner"]
    assert all(len(box.vertices) == 2 for box in boxes[1:])


def test_modules_open_level_by_level_as_far_as_there_is_room() -> None:
    picture = stages().picture()
    boxes = levels_of(picture)
    assert opened(picture, boxes, 1000) == set(range(len(boxes)))
    assert opened(picture, boxes, 8) == {0, 1, 4}
    assert opened(picture, boxes, 1) == {0}


def test_of_an_edit_only_modules_that_changed_are_opened() -> None:
    graph = stages()
    picture = ng.resize(graph, {"second.1.one": +4}).picture()
    boxes = levels_of(picture)
    assert {boxes[number].path for number in opened(picture, boxes, 1000)} == {"", "second", "second.1"}
