"""Levels of detail: the modules of a picture as boxes within boxes, and those that are open at first."""

from __future__ import annotations

import dataclasses

from naivegraph.picture.picture_data import PictureData

__all__ = ["ModuleBox", "levels_of", "opened"]


@dataclasses.dataclass
class ModuleBox:
    """Calls of a module that follow each other, with the boxes in it.

    Attributes:
        path: The path of the module.
        label: The path within the box around it.
        what: The module's class.
        parent: The number of the box around it; None for the network itself.
        children: The numbers of the boxes in it.
        vertices: The places of the vertices in it that are in no inner box.
    """

    path: str
    label: str
    what: str
    parent: int | None
    children: list[int] = dataclasses.field(default_factory=list)
    vertices: list[int] = dataclasses.field(default_factory=list)


def levels_of(picture: PictureData) -> list[ModuleBox]:
    """The boxes of a picture, outer ones first; the first is the network itself.

    A module whose calls do not follow each other has several boxes, so that no edge ever leads back. Boxes
    around one vertex or one box alone are left out.

    Example:
        >>> import torch, naivegraph as ng
        >>> inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
        >>> net = torch.nn.Sequential(inner, torch.nn.Linear(4, 2))
        >>> picture = ng.capture(net, torch.ones(1, 4)).picture()
        >>> [(box.path, box.what, box.vertices) for box in levels_of(picture)]
        [('', 'Sequential', [0, 3, 4]), ('0', 'Sequential', [1, 2])]
    """
    boxes = [ModuleBox("", "", picture.classes.get("", ""), None)]
    stack = [0]
    for place, vertex in enumerate(picture.vertices):
        path = vertex.path
        while not _lies_in(path, boxes[stack[-1]].path):
            stack.pop()
        while boxes[stack[-1]].path != path:
            outer = boxes[stack[-1]].path
            own = f"{outer}." if outer else ""
            part = path[len(own) :].partition(".")[0]
            boxes[stack[-1]].children.append(len(boxes))
            boxes.append(ModuleBox(own + part, part, picture.classes.get(own + part, ""), stack[-1]))
            stack.append(len(boxes) - 1)
        boxes[stack[-1]].vertices.append(place)
    return _condensed(boxes)


def _lies_in(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _condensed(boxes: list[ModuleBox]) -> list[ModuleBox]:
    """Leave out boxes with one vertex or one box in them, and number the rest anew."""
    for number in range(len(boxes) - 1, 0, -1):
        box = boxes[number]
        outer = boxes[box.parent or 0]
        if len(box.children) + len(box.vertices) == 1:
            place = outer.children.index(number)
            outer.children[place : place + 1] = box.children
            outer.vertices = sorted([*outer.vertices, *box.vertices])
            for child in box.children:
                boxes[child].parent = box.parent
    kept = [0]
    for number in kept:
        kept += boxes[number].children
    kept.sort()
    new = {old: place for place, old in enumerate(kept)}
    out: list[ModuleBox] = []
    for old in kept:
        box = boxes[old]
        parent = None if box.parent is None else new[box.parent]
        outer_path = "" if parent is None else out[parent].path
        label = box.path[len(outer_path) + 1 :] if outer_path else box.path
        out.append(
            ModuleBox(box.path, label, box.what, parent, [new[child] for child in box.children], box.vertices)
        )
    return out


def opened(picture: PictureData, boxes: list[ModuleBox], most: int) -> set[int]:
    """The boxes that are open at first: level by level, as long as no more than `most` boxes are seen.

    Where vertices are marked (as changed, say), only modules with such are opened, if they are not all.
    """
    told = {group.name for group in picture.groups if group.told}
    marked = {place for place, vertex in enumerate(picture.vertices) if vertex.group in told}
    inside = _inside(boxes, marked)
    every = _inside(boxes, set(range(len(picture.vertices))))
    few = picture.compared or any(not group.told for group in picture.groups)
    found, seen = {0}, len(boxes[0].children) + len(boxes[0].vertices)
    level = boxes[0].children
    while level:
        wanted = [number for number in level if not few or inside[number]]
        more = sum(len(boxes[n].children) + len(boxes[n].vertices) - 1 for n in wanted)
        if not wanted:
            break
        if seen + more > most:
            # Of many, the first is an example of the rest.
            first = wanted[0]
            if seen + every[first] <= most and len(found) == 1:
                found.add(first)
            break
        found.update(wanted)
        seen += more
        level = [child for number in wanted for child in boxes[number].children]
    return found


def _inside(boxes: list[ModuleBox], places: set[int]) -> list[int]:
    """The number of these vertices in each box and the boxes in it."""
    found = [sum(place in places for place in box.vertices) for box in boxes]
    for number in range(len(boxes) - 1, 0, -1):
        found[boxes[number].parent or 0] += found[number]
    return found
