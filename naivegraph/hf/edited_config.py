"""Configs of edited networks: of the class of their family, but written with the edits."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable
from typing import Any

from naivegraph.errors import LoadError
from naivegraph.hf.description import KEY, Description, base_config
from naivegraph.hf.library import MODEL_TYPE, config_class, library

__all__ = ["Known", "as_edited", "as_plain", "known_of", "register_config"]


class Known:
    """Knowledge that a config has of its network.

    Attributes:
        description: The edits.
        done: Whether the config has the numbers from after the edits.

    Args:
        description: The edits.
        done: Whether the config has the numbers from after the edits.
        network: The network, which may be edited again.
        describe: A function that gives its description then.
    """

    def __init__(
        self,
        description: Description,
        *,
        done: bool,
        network: Any = None,
        describe: Callable[[Any], Description | None] | None = None,
    ) -> None:
        self.description, self.done = description, done
        self._network = None if network is None else weakref.ref(network)
        self._describe = describe

    def now(self, config: Any) -> Description:
        """The description of the network as it is now; for a copy of its config as it was loaded."""
        network = None if self._network is None else self._network()
        if network is None or self._describe is None or network.config is not config:
            return self.description
        return self._describe(network) or self.description

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_network": None, "_describe": None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and (self.description, self.done) == (other.description, other.done)

    __hash__ = None  # type: ignore[assignment]


def known_of(config: Any) -> Known | None:
    """Knowledge that a config has of its network; None of any other config."""
    found = vars(config).get(KEY)
    return found if isinstance(found, Known) else None


def as_edited(config: Any, known: Known) -> Any:
    """Make a config one of an edited network, in place."""
    vars(config)[KEY] = known
    config.__class__ = edited_kind(as_plain_kind(type(config)))
    return config


def as_plain(config: Any) -> Any:
    """A copy of a config that knows of no edits."""
    out = copy.deepcopy(config)
    vars(out).pop(KEY, None)
    out.__class__ = as_plain_kind(type(out))
    return out


def as_plain_kind(kind: Any) -> Any:
    """The family's own class for the class of an edited network's config; of others the class itself."""
    return vars(kind).get("_naivegraph_kind", kind)


@functools.cache
def edited_kind(kind: Any) -> Any:
    """The class of the config of edited networks of a family; its name is the same.

    So transformers finds what belongs to the family (tokenizers, image processors) as it does for others.
    """
    own = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_naivegraph_kind": kind,
        "from_pretrained": classmethod(_from_pretrained),
        "to_dict": _to_dict,
        "to_diff_dict": _to_diff_dict,
        "validate": _validate,
        "__reduce__": _reduce,
        "__repr__": _repr,
    }
    return type(kind.__name__, (kind,), own)


def _from_pretrained(cls: Any, folder: Any, /, **options: Any) -> Any:
    """Read the config of any folder, as adapters do of the one that their network came from."""
    return library().AutoConfig.from_pretrained(folder, **options)


def _to_dict(self: Any) -> Any:
    return as_plain(self).to_dict()


def _to_diff_dict(self: Any) -> Any:
    known = vars(self)[KEY]
    description = known.now(self)
    return description.to_data(_before(self, known, description).to_diff_dict())


def _before(config: Any, known: Known, description: Description) -> Any:
    plain = as_plain(config)
    return base_config(plain, description.edits) if known.done else plain


def _validate(self: Any) -> None:
    """Validate the config from before the edits, by which the network is built."""
    known = vars(self)[KEY]
    before = _before(self, known, known.description)
    if hasattr(before, "validate"):
        before.validate()


def _repr(self: Any) -> str:
    return f"{as_plain(self)!r} with {len(vars(self)[KEY].description.edits)} edits"


def _reduce(self: Any) -> Any:
    return _again, (as_plain_kind(type(self)), vars(self).copy())


def _again(kind: Any, state: dict[str, Any]) -> Any:
    out = object.__new__(edited_kind(kind))
    vars(out).update(state)
    return out


def register_config(prepare: Any) -> None:
    """Make `AutoConfig` read config.json of edited networks.

    Args:
        prepare: Called with each class of configs before one is returned.
    """
    known = library()

    def from_dict(cls: Any, /, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read what config.json says."""
        description, before = Description.from_data(config_dict)
        kind = config_class(before["model_type"])
        if kind is None:
            raise LoadError(
                f"config.json has edits of a network of type {before['model_type']!r}, which this version of "
                f"transformers ({known.__version__}) does not know"
            )
        made = kind.from_dict(before, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        as_edited(config, Known(description, done=False))
        prepare(type(config))
        return made

    own = {"model_type": MODEL_TYPE, "from_dict": classmethod(from_dict), "__module__": __name__}
    kind = type("EditedConfig", (known.PreTrainedConfig,), own)
    known.AutoConfig.register(MODEL_TYPE, kind, exist_ok=True)
