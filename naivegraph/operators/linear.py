"""Operators that multiply and sum: matrix products, convolutions, embeddings, attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from naivegraph.algebra.axis import Axis, single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import shapes
from naivegraph.operators.movement import Arguments, Dims, Mask
from naivegraph.operators.operator_record import CHANNELS, FEATURES, Neurons, Operator, Role
from naivegraph.operators.registry import register
from naivegraph.operators.relation import DefaultScale, Relation, tensors_in
from naivegraph.operators.sources import (
    Choice,
    leading,
    nothing,
    of_convolution,
    of_embedding,
    of_matrices,
    of_passing,
    one_of,
)
from naivegraph.operators.zeros import Zeros, covers, of_all


def product(r: Relation, op: Operation, a: Stub, b: Stub, x: Sequence[Axis], y: Sequence[Axis]) -> None:
    """A (batched) matrix product: `x` is [*, m, k] of tensor `a`, `y` is [*, k, n] of tensor `b`."""
    *batch, m, k = x
    *other, k2, n = y
    for one, two in zip(batch, other, strict=True):
        r.algebra.unify(one, two)
    r.algebra.unify(k, k2)
    zero_a, zero_b = r.vanishes(a), r.vanishes(b)
    if not (zero_a or zero_b) and not r.settled(k):
        r.couple(k, "a sum over values that do not vanish", summed=True)
    r.contract([*batch, m, k, n])
    r.sum_over(k, (a, len(a.shape) - 1), (b, len(b.shape) - 2))
    r.set(op.outputs[0], [*batch, m, n])


def _factors(a: dict[str, Any]) -> tuple[Stub, Stub]:
    """The two factors of a matrix product, added to something or not."""
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"))
    one, two = next(names for names in pairs if names[0] in a)
    return a[one], a[two]


def _zero_product(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A row is zero where that of the first factor is, a column where that of the second one is."""
    x, y = _factors(a)
    zero_x, zero_y = r.vanishes(x), r.vanishes(y)
    rows, columns = r.of(x)[-2], r.of(y)[-1]
    return (zero_x or zero_y) and (zero_x or r.settled(rows)) and (zero_y or r.settled(columns))


def matrix_product(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """[*, m, k] times [*, k, n]."""
    x, y = a["self"], a["mat2"]
    product(r, op, x, y, r.of(x), r.of(y))


register(
    "mm bmm",
    Operator(matrix_product, zeros=Zeros(_zero_product), sources=of_matrices, neurons=FEATURES),
)


def add_matrix_product(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A matrix product plus a tensor broadcast against it."""
    x, y = _factors(a)
    product(r, op, x, y, r.of(x), r.of(y))
    out = op.outputs[0]
    if out is not None:
        r.set(out, r.broadcast([r.of(a["self"]), r.of(out)]))


def _zero_sum(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    added, out = a["self"], op.outputs[0]
    if out is None or not _zero_product(r, op, a):
        return False
    return a.get("beta", 1) == 0 or (r.vanishes(added) and covers(r, added, out))


register(
    "addmm",
    Operator(
        add_matrix_product,
        zeros=Zeros(_zero_sum),
        sources=of_matrices,
        shapes={"default": shapes.addmm},
        neurons=Neurons(-1, taken=2),  # the bias of a linear layer comes before its input
    ),
)
register("baddbmm", Operator(add_matrix_product, zeros=Zeros(_zero_sum), sources=of_matrices))


def grouped_product(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rows sorted by group times the matrix of their group: [m, k] or [groups, m, k], and [groups, k, n]."""
    x, y, out = a["self"], a["mat2"], op.outputs[0]
    if out is None:
        return
    if len(y.shape) != 3 or isinstance(a.get("bias"), Stub):
        for stub in op.operands:
            r.pin_tensor(stub, "a product of groups that has no rule")
        r.set(out, r.fixed(out.shape, "a product of groups that has no rule"))
        return
    rows, (groups, *matrix) = r.of(x), r.of(y)
    r.pin(groups, "a matrix for each group of rows")
    # Its kernels take rows of whole multiples of 16 bytes only.
    for axis in (rows[-1], *matrix):
        r.pin(r.algebra.split(axis, max(16 // x.dtype.itemsize, 1))[1], "a kernel takes 16 bytes at a time")
    if len(rows) == 2:
        r.pin(rows[0], "rows sorted by group")
        product(r, op, x, y, r.of(x), r.of(y)[1:])
    else:
        product(r, op, x, y, r.of(x), r.of(y))


register("_grouped_mm", Operator(grouped_product, zeros=Zeros(_zero_product)), since="2.8")


def vector_product(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A matrix or a vector times a vector."""
    x = a["mat"] if "mat" in a else a["self"]
    y = next(a[name] for name in ("vec", "tensor", "other") if name in a)
    *rows, k = r.of(x)
    r.algebra.unify(k, r.of(y)[0])
    r.contract([*rows, k])
    r.sum_over(k, (x, len(rows)), (y, 0))
    if not (r.vanishes(x) or r.vanishes(y)) and not r.settled(k):
        r.couple(k, "a sum over values that do not vanish", summed=True)
    r.set(op.outputs[0], r.broadcast([rows, r.of(a["self"])]) if "mat" in a else rows)


def _zero_rows(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    added = a["self"] if "mat" in a else None
    x, out = a["mat"] if "mat" in a else a["self"], op.outputs[0]
    whole = added is None or (out is not None and r.vanishes(added) and covers(r, added, out))
    return r.vanishes(x) and whole


def _of_vectors(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """Linear in the matrix or one vector, or in the other vector, with what is added."""
    added = ["self"] if "mat" in a else []
    one = "mat" if "mat" in a else "self"
    two = next(name for name in ("vec", "tensor", "other") if name in a)
    rows = leading(len(out.shape))
    choices = one_of(of_passing(rows, one, *added), of_passing(nothing, two, *added))
    return choices(a, op, out, dims, mask)


register("mv dot vdot addmv", Operator(vector_product, zeros=Zeros(_zero_rows), sources=_of_vectors))


def _input(a: dict[str, Any]) -> Stub:
    """The image that a convolution slides over."""
    source: Stub = a["input"] if "input" in a else a["self"]
    return source


def convolution(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Grouped convolutions: input channels `g*c`, output channels `g*o`, of any number of dimensions."""
    source, weight, bias, out = _input(a), a["weight"], a["bias"], op.outputs[0]
    if out is None:
        return
    groups, transposed = a["groups"], a.get("transposed", False)
    w = r.of(weight)
    for axis in w[2:]:
        r.pin(axis, "kernel size (ng.resize_kernel changes it)")
    batch, channels, *space = (
        r.of(source) if len(source.shape) == len(weight.shape) else [single(1), *r.of(source)]
    )
    for axis in space:
        r.pin(axis, "the dimension a kernel slides over")
    many, inner = w[0], w[1]
    if groups == 1:
        count, ins, outs = single(1), *((many, inner) if transposed else (inner, many))
        r.algebra.unify(channels, ins)
        result = outs
    else:
        count, each = r.algebra.split(many, many.length // groups)
        ins, outs = (each, inner) if transposed else (inner, each)
        r.algebra.unify(channels, r.algebra.join([count, ins]))
        result = r.algebra.join([count, outs])
        r.counts[out.id] = count
    axes = [
        batch,
        result,
        *r.fixed(out.shape[len(out.shape) - len(space) :], f"the image's size at {r.where}"),
    ]
    if bias is not None:
        r.algebra.unify(result, r.of(bias)[0])
    r.set(out, axes[len(axes) - len(out.shape) :])
    r.sum_over(ins, (weight, 0 if transposed else 1), (source, len(source.shape) - len(w) + 1))
    r.contract([batch, count, ins, outs, *w[2:], *(space if transposed else axes[2:])])


def _zero_channels(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A channel is zero where its kernels and bias are, an image where it is and there is no bias."""
    source, weight, bias, out = _input(a), a["weight"], a["bias"], op.outputs[0]
    if out is None:
        return False
    *batch, channels = r.of(out)[: len(out.shape) - len(weight.shape) + 2]
    passed = bias is None and r.vanishes(source)
    own = r.vanishes(weight) and (bias is None or r.vanishes(bias))
    depthwise = a["groups"] == source.shape[-len(weight.shape) + 1] == weight.shape[0]
    along = r.settled(channels) or own or (passed and depthwise)
    return along and all(r.settled(axis) or passed for axis in batch)


_CONVOLUTION = Operator(
    convolution,
    zeros=Zeros(_zero_channels),
    sources=of_convolution,
    neurons=CHANNELS,
    role=Role.CONVOLUTION,
)
register("convolution", dataclasses.replace(_CONVOLUTION, shapes={"default": shapes.convolution}))
register("_convolution convolution_overrideable mkldnn_convolution", _CONVOLUTION)


def embedding(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A table looked up by index: its rows are fixed by what the indices mean, unless they may change."""
    rows, columns = r.of(a["weight"])
    if a["weight"].id not in r.free_tables:
        r.pin(rows, "a table looked up by index")
    r.set(op.outputs[0], [*r.of(a["indices"]), columns])


def _zero_columns(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Zero where the table is, but for indices that may become zero: these look up a row all the same."""
    return r.vanishes(a["weight"]) and all(r.settled(axis) for axis in r.of(a["indices"]))


register(
    "embedding",
    Operator(
        embedding,
        zeros=Zeros(_zero_columns),
        sources=of_embedding,
        shapes={"default": shapes.embedding},
        neurons=FEATURES,
    ),
)


def embedding_bag(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rows of a table looked up and summed, averaged, or their maximum taken."""
    rows, columns = r.of(a["weight"])
    r.pin(rows, "a table looked up by index")
    for name in ("indices", "offsets", "per_sample_weights"):
        if isinstance(a.get(name), Stub):
            r.pin_tensor(a[name], "a table looked up by index")
    out = op.outputs[0]
    if out is None:
        return
    r.set(out, [*r.fixed(out.shape[:1], f"bags at {r.where}"), columns])
    for extra in op.outputs[1:]:
        if extra is not None:
            # With a maximum: for each bag and column, which row it came from.
            by_column = extra.shape == out.shape
            r.set(extra, r.of(out) if by_column else r.fixed(extra.shape, "a by-product of looking up"))


def _columns(a: Arguments, operand: Stub, out: Stub) -> dict[int, int]:
    return {1: 1}


register(
    "_embedding_bag _embedding_bag_forward_only embedding_bag",
    Operator(embedding_bag, zeros=of_all("weight"), sources=of_passing(_columns, "weight")),
)


def trilinear(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The product of three tensors, each with dimensions inserted, summed over some dimensions."""
    factors, places = [a["i1"], a["i2"], a["i3"]], [a["expand1"], a["expand2"], a["expand3"]]
    rank = len(factors[0].shape) + len(places[0])
    aligned = list[list[Axis]]()
    for stub, inserted in zip(factors, places, strict=True):
        axes = iter(r.of(stub))
        aligned.append([single(1) if d in inserted else next(axes) for d in range(rank)])
    whole = r.broadcast(aligned)
    for d in a["sumdim"]:
        carriers = [(i, stub) for i, stub in enumerate(factors) if d not in places[i]]
        if not any(r.vanishes(stub) for _, stub in carriers) and not r.settled(whole[d]):
            r.couple(whole[d], "a sum over values that do not vanish", summed=True)
        r.sum_over(whole[d], *[(stub, d - sum(p < d for p in places[i])) for i, stub in carriers])
    r.set(op.outputs[0], [axis for d, axis in enumerate(whole) if d not in a["sumdim"]])


def _zero_trilinear(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Zero along a dimension where a factor that has it is."""
    factors, places = [a["i1"], a["i2"], a["i3"]], [a["expand1"], a["expand2"], a["expand3"]]
    out = op.outputs[0]
    if out is None:
        return False
    kept = [d for d in range(len(factors[0].shape) + len(places[0])) if d not in a["sumdim"]]
    carried = [
        any(r.vanishes(stub) for stub, inserted in zip(factors, places, strict=True) if d not in inserted)
        for d in kept
    ]
    return all(zero or r.settled(axis) for zero, axis in zip(carried, r.of(out), strict=True))


register(
    "_trilinear",
    Operator(
        trilinear,
        zeros=Zeros(_zero_trilinear),
        sources=one_of(*[of_passing(nothing, i) for i in ("i1", "i2", "i3")]),
    ),
)


def attention(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """softmax(q k^T) v per head: q [b, h, n, d], k [b, g, m, d], v [b, g, m, e] with h a multiple of g."""
    query, key, value, out = a["query"], a["key"], a["value"], op.outputs[0]
    q, k, v = r.of(query), r.of(key), r.of(value)
    if out is None:
        return
    for one, two in [*zip(k[:-1], v[:-1], strict=True), (q[-1], k[-1]), *zip(q[:-3], k[:-3], strict=True)]:
        r.algebra.unify(one, two)
    if len(q) > 2:
        repeats = query.shape[-3] // key.shape[-3]
        wanted = k[-3] if repeats == 1 else r.algebra.join([k[-3], r.algebra.new(repeats)])
        r.algebra.unify(q[-3], wanted)
    r.pin(k[-2], "a softmax over tokens")
    if not (r.vanishes(query) or r.vanishes(key)):
        r.couple(q[-1], "a sum over values that do not vanish", summed=True)
    if a.get("scale") is None:
        r.default_scales.append(DefaultScale(r.where, q[-1], query, key))
    mask = a.get("attn_mask", a.get("attn_bias"))
    if isinstance(mask, Stub):
        r.broadcast([r.of(mask), [*q[:-1], k[-2]]])
    r.sum_over(q[-1], (query, len(q) - 1), (key, len(q) - 1))
    r.contract([*q[:-1], k[-2], q[-1]])
    r.contract([*q[:-1], k[-2], v[-1]])
    r.set(out, [*q[:-1], v[-1]])
    for extra in op.outputs[1:]:
        if extra is not None:
            whole = next((axes for axes in (q[:-1], [*q[:-1], k[-2]]) if _fits(axes, extra)), None)
            r.set(extra, whole or r.fixed(extra.shape, "a by-product of attention"))


def _fits(axes: Sequence[Axis], tensor: Stub) -> bool:
    return tuple([axis.length for axis in axes]) == tensor.shape


def _zero_values(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A head is zero where its values are; one of several queries of a head, or a token, never is."""
    if not r.vanishes(a["value"]):
        return False
    *heads, tokens, _ = [r.algebra.resolve(axis) for axis in r.of(a["query"])]
    values = {atom for axis in r.of(a["value"])[:-2] for atom in r.algebra.resolve(axis).atoms()}
    return tokens.fixed and all(values.issuperset(axis.atoms()) for axis in heads)


def _but_tokens(a: Arguments, operand: Stub, out: Stub) -> dict[int, int]:
    """Heads and their neurons; where several queries share a head, only the latter."""
    return {d: d for d in range(len(out.shape)) if d != len(out.shape) - 2}


register(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_attention_math _scaled_dot_product_attention_math_for_mps "
    "_scaled_dot_product_fused_attention_overrideable",
    Operator(attention, zeros=Zeros(_zero_values), sources=of_passing(_but_tokens, "value")),
)


def matrix_factors(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Inverses and factors of matrices: every entry depends on all; a batch of matrices passes through."""
    source = tensors_in(list(op.args))[0]
    batch = r.of(source) if op.outputs == (None,) else r.of(source)[:-2]
    for axis in r.of(source)[len(batch) :]:
        r.pin(axis, "a matrix is inverted or taken apart")
    for out in op.outputs:
        if out is not None:
            r.set(out, [*batch, *r.fixed(out.shape[len(batch) :], f"factors of a matrix at {r.where}")])


register(
    "linalg_inv_ex linalg_cholesky_ex linalg_matrix_exp _linalg_det _linalg_slogdet _linalg_svd _linalg_eigh "
    "linalg_pinv linalg_qr linalg_eig linalg_lu_factor_ex _linalg_check_errors",
    Operator(matrix_factors),
)
