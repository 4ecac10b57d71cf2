"""Configs: stacked files, and words over them, as jsonargparse reads them; and what they make."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naivegraph.errors import NaivegraphError, TrackError, nearest
from naivegraph.optional_package import optional_package
from naivegraph.track.epoch_loader import epoch_loader
from naivegraph.track.run_identity import identity_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch import nn

__all__ = ["SECTIONS", "Settings", "built_model", "made", "made_trainer", "read_settings"]

SECTIONS = ("model", "data.train", "data.validation", "data.test", "task")
"""The parts of a config that name a class or function by `class_path`."""

_TASK = "naivegraph.track.ClassificationTask"
_GIVEN_FIRST = {"task": {"network"}}  # arguments that come from another section
_OURS = {"logger", "enable_checkpointing"}  # arguments of the Trainer that tracking sets

ConfigPart = Mapping[str, Any] | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Settings:
    """A config as it was read.

    Attributes:
        config: All of it as data for JSON, with the defaults of what it names.
        identity: The digest of what results depend on.
    """

    config: dict[str, Any]
    identity: str

    @property
    def experiment(self) -> str:
        """The name of the experiment."""
        return str(self.config["experiment"])

    @property
    def name(self) -> str:
        """The name of the run: the one given, or the model's and the beginning of the identity."""
        plain = str(self.config["model"]["class_path"]).rpartition(".")[2]
        return str(self.config.get("name") or f"{plain}-{self.identity[:8]}")


def read_settings(parts: Sequence[ConfigPart], words: Sequence[str] = ()) -> Settings:
    """Read a config from files or mappings, the later over the earlier, and words of a command line over all.

    Args:
        parts: Paths of YAML or JSON files, or their content as mappings.
        words: Such as `--trainer.max_epochs`, `100`, or `--config`, `more.yaml`.

    Raises:
        TrackError: A file is missing or none, a key is unknown, a value is of another type, or something that
            is named cannot be imported.
    """
    command = [*(word for part in parts for word in ("--config", _as_word(part))), *words]
    paths = {"task": _TASK, **_class_paths(command)}
    for needed, example in (("model", "mypackage.nets.resnet"), ("data.train", "mypackage.data.digits")):
        if needed not in paths:
            raise TrackError(f"the config names no {needed}: give {needed}.class_path, such as {example}")
    parser = _parser(paths)
    namespace = _parsed(parser, command)
    # The third argument, which keeps what is None, goes by another name from version to version.
    full = json.loads(parser.dump(namespace, "json", False))
    short = json.loads(parser.dump(namespace, "json", False, skip_default=True))
    config = _merged(full, short, paths)
    for section, path in paths.items():
        _check_given(section, path, _section(config, section))
    places = [field for section, path in paths.items() for field in _places(section, found(path, section))]
    if places or config.get("machine"):
        config["machine"] = sorted({*places, *(config.get("machine") or ())})
    return Settings(config, identity_of(config))


def _as_word(part: ConfigPart) -> str:
    if isinstance(part, Mapping):
        try:
            return json.dumps(dict(part))
        except (TypeError, ValueError) as error:
            raise TrackError(f"a config holds numbers, texts, lists and mappings alone: {error}") from error
    return os.fspath(part)


def _loaded(word: str) -> dict[str, Any]:
    """The mapping of a word after --config."""
    import yaml

    text, named = word, "the config"
    if not word.lstrip().startswith("{"):
        named = word
        try:
            text = Path(word).read_text(encoding="utf-8")
        except OSError as error:
            raise TrackError(f"the config {word} cannot be read: {error.strerror or error}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrackError(f"{named} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise TrackError(f"{named} holds {type(data).__name__}, not keys and values")
    return data


def _class_paths(words: Sequence[str]) -> dict[str, str]:
    """The names that each section gives, the last word counting."""
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        key, sign, value = word.partition("=")
        value = value if sign else (words[number + 1] if number + 1 < len(words) else "")
        if key == "--config":
            data = _loaded(value)
            given = {section: _section(data, section).get("class_path") for section in SECTIONS}
            found.update({section: path for section, path in given.items() if path})
        elif key.startswith("--") and key.endswith(".class_path"):
            section = key[2:].removesuffix(".class_path")
            found.update({section: value} if section in SECTIONS else {})
    return found


def _section(config: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    here: Any = config
    for key in section.split("."):
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _parser(paths: Mapping[str, str]) -> ArgumentParser:
    """The parser of a config that names these classes and functions."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="naivegraph train", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a file; several are stacked, the last one wins")
    parser.add_argument("--experiment", type=str, default="default", help="the name runs are kept under")
    parser.add_argument("--name", type=str | None, default=None, help="the name of the run")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order of data and dropout")
    parser.add_argument(
        "--machine", type=list[str], default=[], help="fields that differ from machine to machine"
    )
    parser.add_argument(
        "--checkpoint_every", type=int, default=1, help="epochs from checkpoint to checkpoint"
    )
    for section, path in paths.items():
        parser.add_argument(f"--{section}.class_path", type=str, default=path)
        _add_arguments(parser, f"{section}.", found(path, section), section)
    skip: set[str | int] = {"dataset", "seed", "epoch", "shuffle"}
    parser.add_function_arguments(epoch_loader, "loader", skip=skip, fail_untyped=False)
    trainer = optional_package("lightning.pytorch", "track", "training").Trainer
    parser.add_class_arguments(trainer, "trainer", instantiate=False, fail_untyped=False, skip={*_OURS})
    return parser


def _add_arguments(parser: ArgumentParser, prefix: str, factory: Callable[..., Any], section: str) -> None:
    """Add the arguments of what a section names; `dict_kwargs` is for those its signature does not tell."""
    skip: set[str | int] = {*_GIVEN_FIRST.get(section, ())}
    nested = f"{prefix}init_args"
    try:
        if inspect.isclass(factory):
            parser.add_class_arguments(factory, nested, instantiate=False, fail_untyped=False, skip=skip)
        else:
            parser.add_function_arguments(factory, nested, fail_untyped=False, skip=skip)
    except (ValueError, TypeError) as error:
        raise TrackError(f"the arguments of {section} cannot be told: {_sentence(error)}") from error
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values()):
        parser.add_argument(f"--{prefix}dict_kwargs", type=dict[str, Any], default={})


def _parsed(parser: ArgumentParser, words: Sequence[str]) -> Any:
    from jsonargparse import ArgumentError

    try:
        return parser.parse_args([*words])
    except ArgumentError as error:
        raise TrackError(_with_hint(_sentence(error), parser)) from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())


def _with_hint(text: str, parser: ArgumentParser) -> str:
    """An error about a key, with the keys most like it."""
    group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
    match = re.search(r"""(?:[Kk]ey '|arguments: --|[Kk]ey "|option ')([\w.]+)""", text)
    unknown = re.search("not expected|unrecognized|No action|not valid|nested key", text, re.IGNORECASE)
    if group is None and (match is None or unknown is None):
        return text
    name = match[1] if group is None and match is not None else ".".join(group.groups() if group else ())
    return f"{text}{nearest(name, [str(action.dest) for action in parser._actions])}"


def _merged(full: dict[str, Any], short: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """A config with the defaults of the user's code, but not with those of libraries, which grow new ones."""
    own = [section for section, path in paths.items() if not path.startswith("naivegraph.track.")]
    out = {key: value for key, value in short.items() if key != "config"}
    for section in paths:
        source = _section(full if section in own else short, section)
        here = out
        *before, last = section.split(".")
        for key in before:
            here = here.setdefault(key, {})
        path = paths[section].replace(":", ".")
        rest = {
            key: value for key, value in source.items() if key != "class_path" and value not in ({}, None)
        }
        here[last] = {"class_path": path, **rest}
    return {**out, "experiment": full["experiment"], "seed": full["seed"]}


def _check_given(section: str, path: str, given: Mapping[str, Any]) -> None:
    """Check that what has no default was given: jsonargparse takes None for what has no type either."""
    arguments = given.get("init_args") or {}
    for name, parameter in inspect.signature(found(path, section)).parameters.items():
        if name in _GIVEN_FIRST.get(section, ()) or parameter.default is not parameter.empty:
            continue
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and arguments.get(name) is None:
            raise TrackError(f"{section}: {path} needs {name}; give {section}.init_args.{name}")


def _places(section: str, factory: Callable[..., Any]) -> list[str]:
    """The fields of a dataset that say where it is kept: arguments with a path's type."""
    if not section.startswith("data."):
        return []
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except Exception:  # names that are there for type checkers alone
        return []
    kinds = {name: {hint, *typing.get_args(hint)} for name, hint in hints.items() if name != "return"}
    prefix = section.replace(".", "/")
    return [
        f"{prefix}/init_args/{name}"
        for name, of in kinds.items()
        if of & {Path, os.PathLike, os.PathLike[str]}
    ]


def found(path: str, section: str) -> Callable[..., Any]:
    """The class or function of a path, `package.module.name` or `package.module:name`.

    Raises:
        TrackError: There is none.
    """
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module or not name:
        raise TrackError(f"{section}.class_path is {path!r}: write package.module.name")
    try:
        here = getattr(importlib.import_module(module), name)
    except NaivegraphError:
        raise
    except ModuleNotFoundError as error:
        where = "in the current folder or among the installed packages"
        raise TrackError(
            f"{section}.class_path is {path!r}: there is no module {error.name!r} {where}"
        ) from error
    except AttributeError as error:
        known = dir(importlib.import_module(module))
        raise TrackError(
            f"{section}.class_path is {path!r}: {module} has no {name!r}{nearest(name, known)}"
        ) from error
    except Exception as error:  # whatever a module raises
        raise TrackError(f"{section}.class_path is {path!r}: {type(error).__name__}: {error}") from error
    if not callable(here):
        raise TrackError(
            f"{section}.class_path is {path!r}, a {type(here).__name__}: name a class or function"
        )
    return here  # type: ignore[no-any-return]


def made(config: Mapping[str, Any], section: str, *first: Any) -> Any:
    """Make what a section of a config names; nested `class_path`s are made first.

    Args:
        config: A config as `read_settings` gives it.
        section: One of `SECTIONS`.
        first: Arguments that come first.

    Raises:
        TrackError: It cannot be imported, or does not take these arguments.
    """
    given = _section(config, section)
    path = str(given.get("class_path", ""))
    factory = found(path, section)
    parser = _plain_parser()
    _add_arguments(parser, "", factory, section)
    data = {key: given[key] for key in ("init_args", "dict_kwargs") if given.get(key)}
    try:
        instances = _instances(parser, data)
        arguments = {**dict(instances.get("init_args") or {}), **(instances.get("dict_kwargs") or {})}
        return factory(*first, **arguments)
    except NaivegraphError:
        raise
    except (TypeError, ValueError, OSError) as error:
        raise TrackError(f"{section}: {path} could not be made: {_sentence(error)}") from error


def made_trainer(config: Mapping[str, Any], **more: Any) -> Any:
    """Make Lightning's Trainer of a config, with arguments over it."""
    trainer = optional_package("lightning.pytorch", "track", "training").Trainer
    parser = _plain_parser()
    parser.add_class_arguments(trainer, "trainer", instantiate=False, fail_untyped=False, skip={*_OURS})
    arguments = dict(_instances(parser, {"trainer": config.get("trainer") or {}})["trainer"])
    callbacks = arguments.pop("callbacks", None) or []
    callbacks = [*callbacks] if isinstance(callbacks, (list, tuple)) else [callbacks]
    more["callbacks"] = [*callbacks, *more.pop("callbacks", ())]
    try:
        return trainer(**{**arguments, **more})
    except Exception as error:  # Lightning's own for accelerators that are not there
        raise TrackError(f"trainer: {_sentence(error)}") from error


def _plain_parser() -> ArgumentParser:
    from jsonargparse import ArgumentParser

    return ArgumentParser(exit_on_error=False)


def _instances(parser: ArgumentParser, data: dict[str, Any]) -> Any:
    """Data with what it names made."""
    from jsonargparse import ArgumentError

    try:
        namespace = parser.parse_object(data)
    except ArgumentError as error:
        raise TrackError(_sentence(error)) from error
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return instantiate(namespace)


def built_model(config: Mapping[str, Any]) -> nn.Module:
    """A fresh network of a config.

    Raises:
        TrackError: Its code cannot be imported, does not take the arguments, or makes something else.
    """
    from torch import nn

    model = made(config, "model")
    if not isinstance(model, nn.Module):
        raise TrackError(
            f"model: {config['model']['class_path']} made a {type(model).__name__}, not a network"
        )
    return model
