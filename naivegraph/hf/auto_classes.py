"""All Auto classes of transformers open edited networks."""

from __future__ import annotations

from typing import Any

from naivegraph.errors import LoadError
from naivegraph.hf.describe import described
from naivegraph.hf.edited_config import Known, as_edited, as_plain_kind, known_of, register_config
from naivegraph.hf.edited_network import edited_class, give_buffers
from naivegraph.hf.library import auto_classes
from naivegraph.hf.other_head import changes_for

__all__ = ["Opener", "register"]


class Opener:
    """An entry of an Auto class that opens edited networks of a family, in the place of a class of networks.

    Args:
        auto: The Auto class.
        kind: The config class of the family.
    """

    def __init__(self, auto: Any, kind: Any) -> None:
        self._mapping, self._kind, self._auto = auto._model_mapping, kind, auto.__name__
        self.__name__ = f"Edited{kind.__name__}"

    def from_pretrained(self, folder: Any, *args: Any, config: Any, **kwargs: Any) -> Any:
        """The network of a folder or repository; see the class of the network for the arguments."""
        kind, edited, known = self._classes(config, folder)
        made = edited.from_pretrained(folder, *args, config=config, **kwargs)
        network = made[0] if isinstance(made, tuple) else made  # with output_loading_info=True
        _finish(network, kind, known)
        return made

    def _from_config(self, config: Any, **kwargs: Any) -> Any:
        kind, edited, known = self._classes(config, "the config")
        network = edited._from_config(config, **kwargs)
        _finish(network, kind, known)
        return network

    def _classes(self, config: Any, where: Any) -> tuple[Any, Any, Known]:
        """The class of networks, the one whose instances are resized, and what the config knows."""
        known = known_of(config)
        if known is None:
            raise LoadError(f"the config of {where} has no edits")
        found = self._mapping[self._kind]
        options = {kind.__name__: kind for kind in (found if isinstance(found, tuple) else (found,))}
        kind = options.get(known.description.kind, next(iter(options.values())))
        edited = edited_class(kind, lambda network: changes_for(network, known.description), where)
        return kind, edited, known


def _finish(network: Any, kind: Any, known: Known) -> None:
    """Make a network that was loaded one of its family's class."""
    network.__class__ = kind
    give_buffers(network, known.description if kind.__name__ == known.description.kind else None)
    as_edited(network.config, Known(known.description, done=True, network=network, describe=described))


def register() -> None:
    """Make `AutoConfig` and all Auto classes know edited networks."""
    register_config(_prepare)


def _prepare(kind: Any) -> None:
    """Make the Auto classes that open a family open its edited networks, too."""
    plain = as_plain_kind(kind)
    for auto in auto_classes():
        if plain in auto._model_mapping:
            auto.register(kind, Opener(auto, plain), exist_ok=True)
