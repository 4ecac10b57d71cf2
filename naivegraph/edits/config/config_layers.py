"""Layers of a network that its config counts: what has to follow where some of them leave their list.

Networks like those of transformers are built as `Net(config)` with as many layers as a number of the config
says. Which number that is, and which lists of the config have an entry per layer, is found by trying: the
network is rebuilt without weights, with a smaller number and shorter lists, and has to be the very one that
is left when the layers go, apart from the numbers that layers have as their place.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.edits.apply.attribute_settings import replaced
from naivegraph.edits.config.rebuild import Field, Rebuilt, quiet
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.attribute_change import AttributeChange
from naivegraph.edits.plan.closing import Closing, ItemsGone
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["ConfigLayers", "layer_lists"]

_DEPTH = 4
_SUBSETS = 16  # tries of which lists are shortened
_SCALARS = (int, float, bool, str, type(None))
# A place of a module's attribute: the attribute, and keys inside it.
_Place = tuple[str, Field]


def layer_lists(network: nn.Module) -> dict[str, int]:
    """The lists of modules of one class or several in a network, by path, with their lengths."""
    return {
        path: len(module)
        for path, module in modules_of(network)
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and path and len(module) > 1
    }


class ConfigLayers:
    """Search for what follows where layers of a network leave their lists.

    Args:
        network: The network, as it is built.
        run: Runs its forward on the example, and returns what it gives, for comparisons.
        same: Compares two of these.
    """

    def __init__(self, network: nn.Module, run: Callable[[], Any], same: Callable[[Any, Any], bool]) -> None:
        self._network, self._run, self._same = network, run, same
        self._name = config_name(network)
        self._kept: dict[Field, bool] = {}

    @property
    def known(self) -> bool:
        """True if the network keeps a config that it was built from."""
        return self._name is not None

    @functools.cached_property
    def _rebuilt(self) -> Rebuilt:
        assert self._name is not None
        return Rebuilt(self._network, self._name, config=_read_again(vars(self._network)[self._name]))

    @functools.cached_property
    def _before(self) -> nn.Module | None:
        with quiet():
            return self._rebuilt.network(copy.deepcopy(self._rebuilt.config))

    def closing(self, gone: Mapping[str, Sequence[int]]) -> Closing | str:
        """The closing of the gaps where these layers leave their lists, or why the config has none.

        Args:
            gone: The places of the layers by the paths of their lists.
        """
        if self._name is None:
            return f"{type(self._network).__name__} keeps no config that it was built from"
        if self._before is None:
            return f"its {self._name} builds no network"
        with quiet():
            config, so_far = self._rebuilt.config, dict[str, Sequence[int]]()
            for path, places in gone.items():
                so_far[path] = places
                config, told = self._shortened(config, path, so_far)
                if isinstance(told, str):
                    return told
            return told

    def may_go(self, home: str) -> frozenset[int]:
        """The places of layers in a list each of which may leave it by itself, as the config says.

        Layers that are alike but for their number are tried once.
        """
        count = len(list(self._network.get_submodule(home).children()))
        if self._before is None or isinstance(self.closing({home: [count - 1]}), str):
            return frozenset(n for n in range(count - 1) if not isinstance(self.closing({home: [n]}), str))
        every = range(count)
        kinds = {place: self._kind(f"{home}.{place}", place) for place in every}
        if all(kind == kinds[0] for kind in kinds.values()):
            return frozenset(every)
        return frozenset(place for place in every if not isinstance(self.closing({home: [place]}), str))

    def _kind(self, path: str, place: int) -> list[Any]:
        """All that tells a layer from others, with its number as nothing in particular."""
        assert self._before is not None
        layer = self._before.get_submodule(path)
        return [
            (
                inner,
                type(module),
                _shapes(module),
                [
                    (name, keys, None if type(value) is int and value == place else value)
                    for name, held in vars(module).items()
                    if name not in INTERNAL and name != self._name
                    for keys, value in _leaves(held, ())
                ],
            )
            for inner, module in modules_of(layer, every_path=True)
        ]

    def config_after(self, gone: Mapping[str, Sequence[int]], closing: Closing) -> Any:
        """The config with the numbers and lists from after the closing."""
        config = self._rebuilt.config
        for a in closing.attributes:
            if a.path == "" and a.name == self._name:
                config = replaced(config, a.keys, functools.partial(_instead, a.after))
        for each in closing.lists:
            if each.path == "" and each.name == self._name:
                config = replaced(config, each.keys, functools.partial(_fewer, each.places))
        return config

    # The config

    def _shortened(
        self, config: Any, path: str, gone: Mapping[str, Sequence[int]]
    ) -> tuple[Any, Closing | str]:
        """A config with fewer layers in one list, and what differs then; or why there is none.

        Args:
            config: The config with fewer layers in the lists before.
            path: The path of the list.
            gone: The places of the layers in this list and those before.
        """
        places, count = frozenset(gone[path]), len(list(self._network.get_submodule(path).children()))
        fields = [field for field, value in self._rebuilt.fields.items() if value == count]
        lists = [
            field for field, value in _lists(config, ()) if len(value) == count and self._per_layer(field)
        ]
        subsets = itertools.chain.from_iterable(
            itertools.combinations(lists, size) for size in range(len(lists), -1, -1)
        )
        verb = "would build another network" if fields else "has no number for that"
        reason = f"with fewer layers in {path} its {self._name} {verb}"
        for subset in itertools.islice(subsets, _SUBSETS):
            for field in fields:
                made = replaced(config, field, functools.partial(_instead, count - len(places)))
                for each in subset:
                    made = replaced(made, each, functools.partial(_fewer, places))
                told = self._difference(made, gone)
                if isinstance(told, Closing):
                    return made, told
                reason = told or reason
        return config, reason

    def _per_layer(self, field: Field) -> bool:
        """Tell whether a list of the config has an entry per layer: the network does not do with fewer."""
        if field not in self._kept:
            fewer = replaced(self._rebuilt.config, field, lambda value: type(value)(list(value)[:-1]))
            built = self._rebuilt.network(copy.deepcopy(fewer))
            self._kept[field] = built is None or _refused(fewer) or not self._runs_with(field)
        return self._kept[field]

    def _runs_with(self, field: Field) -> bool:
        """Tell whether the network gives the same where a list of its config is shorter."""
        name = self._name
        assert name is not None
        owners = [o for _, o in modules_of(self._network) if vars(o).get(name) is vars(self._network)[name]]
        before = vars(self._network)[name]
        try:
            expected = self._run()
            fewer = replaced(before, field, lambda value: type(value)(list(value)[:-1]))
            for owner in owners:
                vars(owner)[name] = fewer
            return self._same(expected, self._run())
        except Exception:  # An index that is not there, say.
            return False
        finally:
            for owner in owners:
                vars(owner)[name] = before

    # What differs

    def _difference(self, config: Any, gone: Mapping[str, Sequence[int]]) -> Closing | str:
        """The difference of the network of a config from this one without layers, if that can follow.

        Otherwise what a config cannot say; nothing where its modules are not the same.
        """
        built = None if _refused(config) else self._rebuilt.network(copy.deepcopy(_read_again(config)))
        if built is None or self._before is None:
            return ""
        lists = [
            ItemsGone(path, "", (), tuple((place, None) for place in sorted(places)))
            for path, places in gone.items()
        ]
        closing = Closing((), tuple(lists))
        mine = {closing.after(path) for path, _ in modules_of(self._before, every_path=True)} - {None}
        if mine != {path for path, _ in modules_of(built, every_path=True)}:
            return ""
        return self._compared(built, closing)

    def _compared(self, built: nn.Module, closing: Closing) -> Closing | str:
        """The closing with all that differs beside the layers, or what a config cannot say."""
        before = dict(modules_of(self._before, every_path=True))  # type: ignore[arg-type]
        after = dict(modules_of(built, every_path=True))
        attributes, lists = list[AttributeChange](), list(closing.lists)
        known: dict[tuple[int, int], Any] = {}
        for path, owner in before.items():
            place = closing.after(path)
            if place is None:
                continue
            other = after.get(place)
            if other is None or type(other) is not type(owner) or _shapes(owner) != _shapes(other):
                return f"its {self._name} would build another {path} in its place"
            for name in vars(owner).keys() | vars(other).keys():
                one, two = vars(owner).get(name), vars(other).get(name)
                if name in INTERNAL or name == "training" or (id(one), id(two)) == (id(two), id(one)):
                    continue
                key = (id(one), id(two))
                if key not in known or not is_record(one):
                    known[key] = _changes(one, two)
                for keys, then, now in known[key]:
                    told = self._follows(before, path, (name, keys), then, now, closing)
                    if told is None:
                        shown = f"{path + '.' if path else ''}{name}{''.join(f'.{key}' for key in keys)}"
                        return f"by its {self._name} {shown} would be {now!r} instead of {then!r}"
                    (attributes if isinstance(told, AttributeChange) else lists).append(told)  # type: ignore[arg-type]
        return Closing(tuple(attributes), tuple(lists))

    def _follows(
        self, before: Mapping[str, nn.Module], path: str, place: _Place, then: Any, now: Any, closing: Closing
    ) -> AttributeChange | ItemsGone | None:
        """The kind of a difference: a count, the number of a layer, or a shorter list; None if it is none."""
        name, keys = place
        if isinstance(then, (list, tuple)):
            for each in closing.lists:
                if len(each.places) == len(then) - len(now) and _fewer(each.places, then) == now:
                    return ItemsGone(path, name, keys, tuple((p, then[p]) for p in sorted(each.places)))
            return None
        if type(then) is not int or type(now) is not int:
            return None
        inside = _item(path, closing)
        if inside is None or name == self._name:
            return AttributeChange(path, name, keys, then, now)
        home, number, rest = inside
        every = [
            (int(p.removeprefix(f"{home}.").partition(".")[0]), value)
            for p, module in before.items()
            if (found := _item(p, closing)) is not None and found[0] == home and found[2] == rest
            for value in [_value(vars(module).get(name), keys)]
        ]
        is_place = all(type(value) is int and value - at == then - number for at, value in every)
        return AttributeChange(path, name, keys, then, now) if is_place and len(every) > 1 else None


def _item(path: str, closing: Closing) -> tuple[str, int, str] | None:
    """The list that loses layers, the place in it and the path inside, of a module in one of its layers."""
    for each in closing.lists:
        if not each.name and path.startswith(f"{each.path}."):
            number, _, rest = path.removeprefix(f"{each.path}.").partition(".")
            return each.path, int(number), rest
    return None


def _changes(one: Any, two: Any) -> list[tuple[Field, Any, Any]]:
    """The places in two values where they differ, with what is there."""
    mine, theirs = dict(_leaves(one, ())), dict(_leaves(two, ()))
    out: list[tuple[Field, Any, Any]] = []
    for keys in {**mine, **theirs}:
        then, now = mine.get(keys), theirs.get(keys)
        if type(then) is type(now) and then == now:
            continue
        if isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
            pairs = enumerate(zip(then, now, strict=True))
            out += [((*keys, place), a, b) for place, (a, b) in pairs if type(a) is not type(b) or a != b]
        else:
            out.append((keys, then, now))
    return out


def _leaves(value: Any, at: Field) -> Iterator[tuple[Field, Any]]:
    """The numbers and words in a value; a list of them counts as one."""
    if isinstance(value, _SCALARS):
        yield at, value
    elif len(at) >= _DEPTH:
        return
    elif isinstance(value, (list, tuple)):
        if all(isinstance(item, _SCALARS) for item in value):
            yield at, value
            return
        for index, item in enumerate(value):
            yield from _leaves(item, (*at, index))
    elif isinstance(value, dict) or is_record(value):
        for key, item in (fields_of(value) or {}).items():
            if isinstance(key, (int, str)):
                yield from _leaves(item, (*at, key))


def _lists(value: Any, at: Field) -> Iterator[tuple[Field, Sequence[Any]]]:
    return ((keys, found) for keys, found in _leaves(value, at) if isinstance(found, (list, tuple)) and keys)


def _value(value: Any, keys: Field) -> Any:
    found: Any = dict(_leaves(value, ())).get(keys)
    return found


def _shapes(owner: nn.Module) -> list[Any]:
    return [
        [(name, None if tensor is None else tensor.shape) for name, tensor in vars(owner)[kind].items()]
        for kind in ("_parameters", "_buffers")
    ]


def _instead(value: Any, before: object) -> Any:
    return value


def _fewer(places: frozenset[int], value: Sequence[Any]) -> Any:
    return type(value)([item for place, item in enumerate(value) if place not in places])  # type: ignore[call-arg]


def _refused(config: Any) -> bool:
    """Tell whether the config's own check of itself refuses it."""
    try:
        if callable(getattr(config, "validate", None)):
            config.validate()
    except Exception:  # Any exception of a class of the user's.
        return True
    return False


def _read_again(config: Any) -> Any:
    """A config as it is after it was written and read, if it has methods for that."""
    try:
        return type(config).from_dict(config.to_dict())
    except Exception:  # Any exception of a class of the user's.
        return config
