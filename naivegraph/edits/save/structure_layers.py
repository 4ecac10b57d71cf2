"""The layers and tensors of a `torch.fx.GraphModule` as data, and back."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.edits.save.function_names import function_called, is_tensor_attribute, name_of
from naivegraph.edits.save.layer_spec import class_spec, layer_from_class_spec
from naivegraph.errors import EditError
from naivegraph.graph.export.added_layers import Assemble, Flag
from naivegraph.ir.custom_rule import Call
from naivegraph.ir.step_module import add_submodule, box_at

__all__ = ["layers_from_json", "layers_to_json", "tensors_of"]

_BOX = frozenset(vars(nn.Module()))


def layers_to_json(root: nn.Module, called: set[str]) -> dict[str, Any]:
    """The modules of a network by their paths.

    Args:
        root: The network.
        called: The paths that its forward calls. What is around them are boxes without a forward.
    """
    layers: dict[str, Any] = {}
    numbers: dict[str, dict[str, int]] = {}
    first: dict[int, str] = {}
    for path, module in root.named_modules(remove_duplicate=False):
        if any(path.startswith(f"{layer}.") for layer in layers) or module is root:
            continue
        if path in called:
            same = first.setdefault(id(module), path)
            layers[path] = _layer(module) if same == path else {"same": same}
        else:
            own = {k: v for k, v in vars(module).items() if k not in _BOX and type(v) is int}
            numbers.update({path: own} if own else {})
    modes = {path: module.training for path, module in root.named_modules() if path}
    other = [path for path, mode in modes.items() if mode != root.training]
    return {"layers": layers, "numbers": numbers, "training": root.training, "other_mode": other}


def _layer(module: nn.Module) -> dict[str, Any]:
    if type(module) is Flag:
        return {"flag": list(module.values)}
    if type(module) is Call:
        return _call(module.function)
    if type(module) is Assemble:
        return {"own": _class_name(Assemble), "returned": _class_name(module.kind)}
    if type(module) is nn.Sequential and not (module._forward_hooks or module._forward_pre_hooks):
        parts = {name: _layer(part) for name, part in module.named_children()}
        if not any("own" in part for part in parts.values()):
            return {"sequential": parts}
    return class_spec(module) or {"own": _class_name(type(module))}


def _class_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _call(function: Callable[..., Any]) -> dict[str, Any]:
    """A function of torch's that is called as a layer, or the reading of an attribute of tensors."""
    if isinstance(function, operator.attrgetter):
        return {"attribute": function.__reduce__()[1][0]}
    return {"function": name_of(function)}


def _function(name: str) -> Callable[..., Any]:
    """The function of a name, if it is one of torch's."""
    if not name.startswith("torch."):
        raise ValueError(f"{name!r} is no function of torch's")
    return function_called(name)


def tensors_of(root: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The parameters and buffers of a network, each once, and what else is to be known of each name.

    Those of layers of one's own are among them.
    """
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {}
    first: dict[int, str] = {}
    fleeting = {
        f"{path}.{name}" if path else name
        for path, module in root.named_modules(remove_duplicate=False)
        for name in module._non_persistent_buffers_set
    }
    parameters = dict(root.named_parameters(remove_duplicate=False))
    for name, tensor in {**parameters, **dict(root.named_buffers(remove_duplicate=False))}.items():
        same = first.setdefault(id(tensor), name)
        if same != name:
            facts[name] = {"same": same}
            continue
        tensors[name] = tensor.detach()
        trains = tensor.requires_grad if name in parameters else None
        known = {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        facts[name] = {**known, "trains": trains, **({"persistent": False} if name in fleeting else {})}
    return tensors, facts


def layers_from_json(
    data: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    own: Mapping[str, nn.Module | Callable[[], nn.Module]],
) -> nn.Module:
    """A module with the layers that `layers_to_json` wrote, and the tensors of `tensors_of`.

    Args:
        data: What they wrote.
        tensors: The numbers; the module holds copies.
        own: By path: layers which are none of torch.nn, or functions which make them.

    Raises:
        EditError: A layer is missing, or has other tensors.
        ValueError: It is something else.
    """
    root = nn.Module()
    for path, spec in data["layers"].items():
        add_submodule(root, path, _made(root, path, spec, own))
    for path, numbers in data["numbers"].items():
        for name, value in numbers.items():
            setattr(box_at(root, path), name, int(value))
    _place(root, data["tensors"], tensors)
    left = [name for name, tensor in _named_tensors(root) if tensor.is_meta]
    if left:
        raise ValueError(f"there are no numbers for {left[0]}")
    root.train(bool(data["training"]))
    for path in data["other_mode"]:
        root.get_submodule(path).training = not root.training
    return root


def _made(
    root: nn.Module,
    path: str,
    spec: Mapping[str, Any],
    own: Mapping[str, nn.Module | Callable[[], nn.Module]],
) -> nn.Module:
    if path in own:
        given = own[path]
        return given if isinstance(given, nn.Module) else given()
    if "returned" in spec:
        raise EditError(
            f"the network returns a {spec['returned']}, which cannot be data: capture one that returns "
            "tensors in tuples, lists or dicts (of transformers: with return_dict=False, and "
            "use_cache=False where it returns a cache); or give "
            f"layers={{{path!r}: graph.to_module().get_submodule({path!r})}}"
        )
    if "own" in spec:
        raise EditError(
            f"the layer {path!r} ({spec['own']}) is not one of torch.nn as its attributes make it: give "
            f"layers={{{path!r}: the layer, or a function that makes it}}"
        )
    if "same" in spec:
        return root.get_submodule(spec["same"])
    return _of_torch(spec)


def _of_torch(spec: Mapping[str, Any]) -> nn.Module:
    if "sequential" in spec:
        return nn.Sequential(
            OrderedDict((name, _of_torch(part)) for name, part in spec["sequential"].items())
        )
    if "function" in spec:
        return Call(_function(spec["function"]))
    if "attribute" in spec:
        if not is_tensor_attribute(spec["attribute"]):
            raise ValueError(f"{spec['attribute']!r} is no attribute of tensors")
        return Call(operator.attrgetter(spec["attribute"]))
    return Flag(*spec["flag"]) if "flag" in spec else layer_from_class_spec(spec)


def _place(root: nn.Module, facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    made: dict[str, torch.Tensor] = {}
    for name, fact in facts.items():
        path, _, attribute = name.rpartition(".")
        home = box_at(root, path)
        if "same" in fact:
            value = made[fact["same"]]
        else:
            value = tensors[name].clone()
            if fact["trains"] is not None:
                value = nn.Parameter(value, requires_grad=bool(fact["trains"]))
        there = home._parameters.get(attribute, home._buffers.get(attribute))
        if there is not None and there.shape != value.shape:
            raise EditError(
                f"{name} is {tuple(there.shape)} in the layer given and {tuple(value.shape)} in the data"
            )
        made[name] = value
        if isinstance(value, nn.Parameter):
            home.register_parameter(attribute, value)
        else:
            home.register_buffer(attribute, value, persistent=fact.get("persistent", True))


def _named_tensors(root: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*root.named_parameters(), *root.named_buffers()]
