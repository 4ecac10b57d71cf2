"""Every record against its operator: axes, zeros, movement, linear sources, shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from naivegraph.extend import operator_checks as checks
from naivegraph.extend.operator_contract import OperatorContract
from naivegraph.extend.operator_trial import OperatorCall, Sample
from naivegraph.operators.registry import RECORDS
from tests.operators.samples import SAMPLES
from tests.operators.samples.make import real

pytestmark = pytest.mark.filterwarnings("ignore:.*index_reduce.*is in beta:UserWarning")

# Facts that records leave out on purpose, or that hold for the samples by chance, and the names of operators.
_UNTOLD = {
    # Of matrices that are all zero there are no factors. The classes that a loss is a sum over are fixed.
    "zeros": "linalg_cholesky_ex _linalg_det _linalg_slogdet linalg_pinv linalg_lu_factor_ex "
    "binary_cross_entropy nll_loss_forward nll_loss2d_forward",
    "zeros sources": "_linalg_eigh linalg_eig",
    # What is not a number becomes one; the strides that a tensor had are not known.
    "movement sources": "nan_to_num as_strided as_strided_copy",
    # A complex number is one element, its parts are two.
    "movement": "view_as_real view_as_real_copy",
    # Linear in numbers together with the steps to which they are rounded, or in which of them differ.
    "sources": "fake_quantize_per_channel_affine_cachemask _fused_moving_avg_obs_fq_helper _unique2 "
    "unique_dim _fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
}
UNTOLD = {name: facts.split() for facts, names in _UNTOLD.items() for name in names.split()}
# In place, it takes no notice of what was there.
UNTOLD["bernoulli"] = ["zeros"]

# No processor runs these; each has the rule of another, which is tried.
ELSEWHERE = {
    "convolution_overrideable": "convolution",
    "_scaled_dot_product_flash_attention": "_scaled_dot_product_attention_math",
    "_scaled_dot_product_efficient_attention": "_scaled_dot_product_attention_math",
    "_scaled_dot_product_cudnn_attention": "_scaled_dot_product_attention_math",
    "_scaled_dot_product_attention_math_for_mps": "_scaled_dot_product_attention_math",
    "_scaled_dot_product_fused_attention_overrideable": "_scaled_dot_product_attention_math",
    "cudnn_batch_norm": "native_batch_norm",
    "miopen_batch_norm": "native_batch_norm",
    "batch_norm_elemt": "native_batch_norm",
    "cudnn_grid_sampler": "grid_sampler_2d",
    "mkldnn_max_pool2d": "max_pool2d",
    # What they give is whatever was in memory.
    "empty": "ones",
    "empty_strided": "ones",
    "new_empty": "new_ones",
    "new_empty_strided": "new_ones",
    "empty_like": "ones_like",
}


def in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


ATEN = {packet.__name__: packet for packet in RECORDS if str(packet).startswith("aten.")}
BASE = sorted(name for name in ATEN if not in_place(name) and name not in ELSEWHERE)
TESTS = sorted(name for name in vars(OperatorContract) if name.startswith("test_"))


def contract(name: str, untold: Any = None) -> OperatorContract:
    out = OperatorContract()
    out.operator = ATEN[name]  # type: ignore[misc]
    out.samples = SAMPLES.get(name, [])  # type: ignore[misc]
    out.untold = UNTOLD.get(name, ()) if untold is None else untold  # type: ignore[misc]
    return out


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("name", BASE)
def test_a_record_says_what_the_operator_does(name: str, test: str) -> None:
    getattr(contract(name), test)()


@pytest.mark.parametrize("name", sorted(UNTOLD.keys() & ATEN.keys()))
def test_what_is_left_out_is_missing(name: str) -> None:
    for fact in UNTOLD[name]:
        with pytest.raises(AssertionError, match=f"state its {fact}="):
            getattr(contract(name, untold=()), f"test_{fact}")()


@pytest.mark.parametrize("name", sorted(name for name in ATEN if in_place(name)))
def test_in_place_it_is_the_same(name: str) -> None:
    for sample in SAMPLES.get(name[:-1], []):
        try:
            call = OperatorCall.of(ATEN[name], sample)
        except TypeError:
            continue  # the result does not fit in the place of the operand
        assert list(checks.axes_wrong(call)) == []
        assert list(checks.zeros_wrong(call)) == []


def test_records_that_cannot_be_tried_are_those_of_others() -> None:
    for name, other in ELSEWHERE.items():
        if name in ATEN:
            one, two = RECORDS[ATEN[name]].axes, RECORDS[ATEN[other]].axes
            assert one.__code__ is two.__code__


def tagged() -> list[str]:
    """Operators that torch tags as pointwise and that have no record of their own."""
    known = {full.removeprefix("aten::").split(".")[0] for full in torch._C._dispatch_get_all_op_names()}
    out = []
    for name in sorted(known):
        packet = getattr(torch.ops.aten, name, None)
        if packet is None or packet in RECORDS or name.endswith(("_", "backward")):
            continue
        if any(torch.Tag.pointwise in getattr(packet, each).tags for each in packet.overloads()):
            out.append(name)
    return out


def arguments_for(packet: Any) -> Sample:
    """Arguments of the types that the first overload asks for."""
    args: list[Any] = []
    for argument in getattr(packet, packet.overloads()[0])._schema.arguments:
        if argument.kwarg_only or argument.has_default_value():
            break
        kind = str(argument.type)
        args.append(real(2, 3, 4) if kind == "Tensor" else 0.5 if kind in ("number", "float") else 1)
    return Sample(*args)


@pytest.mark.parametrize("name", tagged())
def test_what_torch_tags_as_pointwise_is(name: str) -> None:
    try:
        call = OperatorCall.of(getattr(torch.ops.aten, name), arguments_for(getattr(torch.ops.aten, name)))
    except TypeError:
        pytest.skip("it takes whole numbers, or other arguments than its schema says")
    assert list(checks.axes_wrong(call)) == []
