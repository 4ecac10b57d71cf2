"""Pictures of networks and latent spaces."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import torch

from naivegraph.errors import EditError
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.token_pictures import draw_latent_space, draw_networks


@pytest.mark.parametrize(
    "frame",
    [
        Frame("dense", inputs=3, outputs=2, depth=2, width=4),
        Frame("convolutional", inputs=1, outputs=2, depth=2, width=3, kernel=9),
        Frame("residual", inputs=3, outputs=1, depth=3, width=4),
    ],
    ids=lambda frame: frame.kind,
)
def test_a_line_for_each_edge_and_words_for_each_layer(frame: Frame) -> None:
    networks = random_structure(frame, 5, seed=0)
    for number in range(5):
        one = networks[number]
        svg = str(draw_networks([one], ["some <name>"]))
        ET.fromstring(svg)
        assert svg.count("<polyline") == int(one.edges.sum())
        for operator in one.operator[0, :-1].tolist():
            if operator:
                assert frame.operators[operator] in svg
        assert "some &lt;name&gt;" in svg


def test_what_is_no_network_is_not_drawn() -> None:
    networks = random_structure(Frame("dense", 2, 1, depth=1, width=2), 3, seed=0)
    networks.presence[1, -1, 0] = False
    with pytest.raises(EditError, match=r"'broken' is no network: .*an output is missing"):
        draw_networks([networks[0], networks[1]], ["fine", "broken"])
    with pytest.raises(ValueError, match="give batches of one network each"):
        draw_networks([networks], ["three"])


def test_dots_are_coloured_by_their_values() -> None:
    latent = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, float("nan")])
    svg = str(draw_latent_space(latent, values, "size"))
    ET.fromstring(svg)
    colours = re.findall(r"<circle [^>]*fill='(#\w+)'", svg)
    assert len(colours) == 6
    assert len({*colours}) == 6
    with pytest.raises(ValueError, match=r"latent is \(6, 4\) and values \(5,\)"):
        draw_latent_space(latent, values[:5], "size")
