"""Saving an edited network of transformers as a folder that `from_pretrained` opens."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naivegraph.edits import Edit
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.hf.describe import described, edits_of
from naivegraph.hf.description import KEY, Description, base_config
from naivegraph.hf.edited_config import Known, as_edited, as_plain, known_of
from naivegraph.hf.library import pretrained_kind
from naivegraph.hf.model_card import is_own_card, model_card, report_of
from naivegraph.hf.plain_config import plain_config
from naivegraph.network import Graph

__all__ = ["edits_in_config", "save_pretrained"]

_CARD = "README.md"


def save_pretrained(
    model: Any, folder: str | os.PathLike[str], *, edit: Edit | None = None, **options: Any
) -> None:
    """Save an edited network of transformers as a folder that `from_pretrained` opens.

    Where the config alone says the sizes, as after `ng.prune(..., uniform=True)`, or with numbers for layers
    of their own in families that read them (`per_layer_config`), plain transformers opens the folder, too.

    Args:
        model: The network, a `PreTrainedModel`; one that was never edited is saved as ever.
        folder: Where to; it is made if it is not there.
        edit: An edit of the network, whose costs and certificate its model card (README.md) shows.
        options: Those of the network's own `save_pretrained`, such as `max_shard_size="2GB"`.

    The card also has what every edit changed. One that is there already and was not written by this function
    stays as it is, of which a warning tells.

    Raises:
        EditError: It is no such network, the folder is a file, or the class of the network would not become
            this network by its config and the edits; nothing is written then.
        MissingPackageError: transformers is not installed.

    Example:
        >>> import tempfile, torch, transformers, naivegraph as ng
        >>> import naivegraph.hf as hf
        >>> transformers.logging.disable_progress_bar()
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> config = transformers.BertConfig(**sizes, intermediate_size=64, vocab_size=50)
        >>> model = transformers.BertForSequenceClassification(config).eval()
        >>> tokens = {"input_ids": torch.arange(8).reshape(1, 8)}
        >>> edit = ng.prune(model, (), tokens, params=0.8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hf.save_pretrained(model, folder, edit=edit)
        ...     opened = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        >>> type(opened).__name__, torch.allclose(opened(**tokens).logits, model(**tokens).logits, atol=1e-6)
        ('BertForSequenceClassification', True)
    """
    network = _network(model)
    path = Path(validate.file_path(folder))
    if path.is_file():
        raise EditError(f"{path} is a file: a folder is needed")
    if options.get("push_to_hub"):
        raise EditError(
            "push_to_hub= would replace the model card: save the folder, and then "
            f"huggingface_hub.upload_folder(repo_id=..., folder_path={str(path)!r})"
        )
    known = _reports(edit, network)
    description = described(network)
    if description is None:
        network.save_pretrained(folder, **options)
        return
    reports = [each for each in description.reports if each.get("edit") not in {new["edit"] for new in known}]
    description = dataclasses.replace(description, reports=(*reports, *known))
    plain = plain_config(network, description.changes())
    card = model_card(network, description, path.resolve().name, plain=plain is not None)
    told = _telling(network, description) if plain is None else _telling_both(network, description, plain)
    with told, _no_old_weights(path):
        network.save_pretrained(folder, **options)
    if is_own_card(path / _CARD):
        (path / _CARD).write_text(card, encoding="utf-8")
    else:
        warnings.warn(f"{path / _CARD} stays as it is: it was not written by naivegraph.hf", stacklevel=2)


def _reports(edit: Edit | None, network: Any) -> list[dict[str, Any]]:
    """The reports on an edit, and on those that it is the last of.

    Raises:
        EditError: It is none, or of another network.
    """
    if edit is None:
        return []
    if not isinstance(edit, Edit):
        raise EditError(f"edit= is an Edit, as ng.prune returns it, not {type(edit).__name__}")
    history, edits, found = history_of(network), edits_of(network), []
    for each in (*edit.earlier, edit):
        text = each.change.to_json()
        if each and text not in history:
            raise EditError(f"edit= is none of this network's {len(history)} edits: {each!r}")
        if each and text in edits:
            found.append(report_of(each, len(edits) - 1 - edits[::-1].index(text)))
    return found


@contextlib.contextmanager
def _no_old_weights(folder: Path) -> Iterator[None]:
    """Of weights and their index, those which were there before this block and not written in it are removed.

    Left beside shards, the one file of an earlier save would be loaded in their place.
    """
    before = {path: path.stat().st_mtime_ns for path in folder.glob("model*.safetensors*")}
    yield
    after = {path: path.stat().st_mtime_ns for path in folder.glob("model*.safetensors*")}
    if after != before:
        for path in after:
            if before.get(path) == after[path]:
                path.unlink()


def _network(model: Any) -> Any:
    """The network of transformers."""
    found = validate.network(model)
    if isinstance(found, Graph):
        if found.rewired:
            raise EditError(
                f"the structure of the graph was edited, which the forward of {type(found.module).__name__} "
                "does not know: ng.save the graph, or its to_module(), instead"
            )
        found = found.module
    if not isinstance(found, pretrained_kind()):
        inside = getattr(found, "base_model", None)
        more = " Save adapters by themselves, or merge them first" if inside is not None else ""
        raise EditError(
            f"naivegraph.hf saves networks of transformers (PreTrainedModel), and {type(found).__name__} is "
            f"none: ng.save saves any network.{more}"
        )
    return found


@contextlib.contextmanager
def edits_in_config(model: Any) -> Iterator[None]:
    """Write the edits with the config whenever a network of transformers is saved in this block.

    It is for trainers, which save by themselves; other networks, and those never edited, are saved as ever.
    """
    description = described(model) if isinstance(model, pretrained_kind()) else None
    if description is None:
        yield
        return
    with _telling(model, description):
        yield


@contextlib.contextmanager
def _telling_both(network: Any, description: Description, plain: Any) -> Iterator[None]:
    """The config by which transformers alone builds a network is written in this block, with the edits."""
    config = network.config
    before = base_config(as_plain(config), description.edits).to_diff_dict()
    vars(plain)[KEY] = description.to_data(before)[KEY]
    network.config = plain
    try:
        yield
    finally:
        network.config = config


@contextlib.contextmanager
def _telling(network: Any, description: Description) -> Iterator[None]:
    """The config of a network is written with the edits in this block."""
    config = network.config
    kind, known = type(config), known_of(config)
    as_edited(config, Known(description, done=True))
    try:
        yield
    finally:
        config.__class__ = kind
        if known is None:
            vars(config).pop(KEY, None)
        else:
            vars(config)[KEY] = known
