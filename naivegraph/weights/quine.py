"""Networks that predict their own weights (Chang and Lipson, "Neural network quine", ALIFE 2018)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from naivegraph.edits.request.target import check_model
from naivegraph.edits.request.validate import above_zero, at_least_zero, whole
from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.network import Graph, capture
from naivegraph.progress import working
from naivegraph.weights.addresses import Addresses
from naivegraph.weights.batched_operators import batched_operators
from naivegraph.weights.fixed_point import FixedPoint, fixed_point
from naivegraph.weights.levenberg_marquardt import Descent, least_squares
from naivegraph.weights.quine_history import QuineHistory
from naivegraph.weights.replication import Replication
from naivegraph.weights.solver_memory import check_matrices, check_products
from naivegraph.weights.weight_vector import WeightVector

__all__ = ["Quine", "quine"]

_DENSE = 2000  # weights up to which the Jacobian is held
_PATIENCE = 30  # steps in which the loss is to halve
_KICK = 0.05  # of the root mean square of the weights: a random step where no other leads on


def quine(
    body: nn.Module | Graph,
    dim: int | Sequence[int],
    *,
    gain: float = 3.0,
    seed: int = 0,
) -> Quine:
    """Make a network one that is to predict its own weights.

    It takes the code of a weight's address, which is a vector of normal numbers as good as a random
    projection of the one-hot address, and returns a number; times `gain` that is the prediction of the
    weight. Batch norms and dropout act as in eval mode.

    Args:
        body: The network, or its graph: from `[batch, *dim]` to `[batch]` or `[batch, 1]`. It stays the
            object it is, and is changed in place. In float32 a loss below about 1e-8 is not to be had.
        dim: The size of a code, or its sizes where the body takes more than vectors.
        gain: What the network's output is multiplied by at first.
        seed: The seed of the codes.

    Raises:
        EditError: The body has no scalar head, takes nothing of that size, or has weights that are no
            numbers; an argument is none of its kind.

    Example:
        >>> body = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 1))
        >>> q = quine(body, dim=4)
        >>> q.predictions().shape, q.report().kind
        (torch.Size([37]), 'none')
    """
    check_model("weights.quine", body)
    sizes = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    return Quine(body, tuple(whole(each, "dim", 1) for each in sizes), above_zero(gain, "gain"), seed)


class Quine:
    """A network that is to predict its own weights; see `quine`.

    Attributes:
        graph: The graph of the network; edits of it are followed.
        gain: What its output is multiplied by; `solve` changes it.
        history: Loss and kind after each step, regeneration and edit; `history.picture()` draws them.
    """

    def __init__(self, body: nn.Module | Graph, sizes: tuple[int, ...], gain: float, seed: int) -> None:
        module = body.module if isinstance(body, Graph) else body
        like = next(module.parameters(), None)
        if like is None:
            raise EditError("the network has no weights that it could predict")
        WeightVector(module).check_finite()
        self.gain, self._sizes = gain, sizes
        self._check_head(module, torch.zeros(2, *sizes, dtype=like.dtype, device=like.device))
        given = torch.zeros(1, *sizes, dtype=like.dtype, device=like.device)
        self.graph = body if isinstance(body, Graph) else capture(body, given)
        self._addresses = Addresses(self.module, math.prod(sizes), seed)
        self.history, self._edits = QuineHistory(), list(history_of(self.module))
        self._start = float(WeightVector(self.module).read().norm())

    @property
    def module(self) -> nn.Module:
        """The network."""
        module: nn.Module = self.graph.module
        return module

    def predictions(self) -> Tensor:
        """The predictions of all weights, `[weights]` in float64, in the order of `module.parameters()`."""
        self._follow()
        with torch.no_grad():
            return self._map()(WeightVector(self.module).read())

    def codes(self) -> Tensor:
        """The codes of all weights, `[weights, *dim]` in float64, in the order of `module.parameters()`."""
        self._follow()
        return self._addresses.codes().reshape(-1, *self._sizes)

    def solve(
        self,
        seconds: float = 60.0,
        *,
        tolerance: float = 1e-9,
        norm: tuple[float, float] | None = (0.7, 1.5),
        dense: bool | None = None,
        steps: int | None = None,
    ) -> FixedPoint:
        """Change the weights so that the predictions come true, by Levenberg-Marquardt in float64.

        Args:
            seconds: The time it may take.
            tolerance: The loss at which it is done.
            norm: Bounds of the norm of the weights, as shares of that at the start; the gain is found along
                with the weights. With None the gain stays, and the norm may become what it will: the way to
                nothing but zeros is short.
            dense: Whether the matrix of derivatives is held, of `weights` squared numbers; if None, for up to
                2,000 weights.
            steps: The most steps; as many as there is time for if None.

        Returns:
            The report on the weights found, which the network has now.

        Raises:
            EditError: The matrix, or else the products, would take more memory than half of what is free; the
                bounds are none; a weight is no number, or all are zeros and their norm is to have bounds.
        """
        at_least_zero(seconds, "seconds")
        at_least_zero(tolerance, "tolerance")
        _check_norm(norm)
        bounds = norm and (norm[0] * self._start, norm[1] * self._start)
        self._follow()
        vector = WeightVector(self.module)
        vector.check_finite()
        if norm is not None and not self._start:
            raise EditError(
                "all weights were 0 at the start, so no norm is a share of theirs: initialise them"
            )
        held = vector.size <= _DENSE if dense is None else dense
        body = self._body()
        if held:
            check_matrices(vector.size)
        else:
            check_products(body, vector.read(), self._sizes)
        replication = Replication(body, self.codes(), self.gain, bounds)
        end = time.monotonic() + seconds
        best: Descent | None = None
        x, kicks = replication.unknowns(vector.read()), torch.Generator().manual_seed(0)
        with working("solving for the weights") as say:

            def watch(x: Tensor, loss: float) -> None:
                """Tell of a step, and note it."""
                self.history.add("step", replication.found(x)[0], loss=loss, start=self._start)
                say(f"solving for the weights: {len(self.history.moments)} steps, loss {loss:.3g}")

            left = math.inf if steps is None else whole(steps, "steps", 1)
            while best is None or (best.losses[-1] > tolerance and left > 0 and time.monotonic() < end):
                found = least_squares(
                    replication.residual,
                    x,
                    seconds=end - time.monotonic(),
                    tolerance=tolerance,
                    jacobian=replication.jacobian if held else None,
                    steps=None if steps is None else int(left),
                    patience=_PATIENCE,
                    watch=watch,
                )
                left -= max(1, len(found.losses) - 1)
                best = found if best is None or found.losses[-1] < best.losses[-1] else best
                size = _KICK * float(best.x.square().mean().sqrt())
                x = best.x + size * torch.randn(best.x.shape, generator=kicks, dtype=best.x.dtype)
        weights, self.gain = replication.found(best.x)
        vector.write(weights)
        return self.report()

    def regenerate(self, times: int = 1) -> list[float]:
        """Replace the weights by their predictions.

        Returns:
            The relative change of the weights each time.
        """
        whole(times, "times", 0)
        self._follow()
        vector, predict, changes = WeightVector(self.module), self._map(), []
        weights = vector.read()
        for _ in range(times):
            with torch.no_grad():
                there = predict(weights)
            changes.append(float((there - weights).norm() / max(float(weights.norm()), 1e-300)))
            weights = there
            self._note("regenerated", weights, predict)
        vector.write(weights)
        return changes

    def report(self, tolerance: float = 1e-4) -> FixedPoint:
        """Tell what kind of fixed point the weights are.

        Args:
            tolerance: The relative loss up to which they count as one.
        """
        self._follow()
        return fixed_point(
            self._map(), WeightVector(self.module).read(), start=self._start, tolerance=tolerance
        )

    def _map(self) -> Callable[[Tensor], Tensor]:
        """The predictions as a function of the weights."""
        body, codes, gain = self._body(), self.codes(), self.gain
        return lambda weights: gain * body(weights, codes)

    def _body(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The output as a function of the weights and codes."""
        network, vector = deep_copy(self.module).double().cpu().eval(), WeightVector(self.module)

        def output(weights: Tensor, codes: Tensor) -> Tensor:
            """Run the network with these weights on all codes."""
            with batched_operators():
                out: Tensor = functional_call(network, dict(vector.split(weights)), (codes,))
            return out.reshape(len(codes))

        return output

    def _follow(self) -> None:
        """Follow edits; weights that came start with what is predicted for them."""
        edits = list(history_of(self.module))
        if edits == self._edits:
            self._addresses.check()
            return
        new, vector = self._addresses.follow(), WeightVector(self.module)
        self._edits = edits
        mask = torch.cat(
            [new.get(name, torch.zeros(s, dtype=torch.bool)).reshape(-1) for name, s in vector.shapes.items()]
        )
        weights = torch.where(mask, 0.0, vector.read())
        if new:
            with torch.no_grad():
                largest = float(weights.abs().max())
                vector.write(torch.where(mask, self._map()(weights).clamp(-largest, largest), weights))
        self._note("edited", vector.read(), self._map())

    def _note(self, event: str, weights: Tensor, predict: Callable[[Tensor], Tensor]) -> None:
        """Add a moment to the history."""
        with torch.no_grad():
            loss = float((weights - predict(weights)).square().sum())
        self.history.add(event, weights, loss=loss, start=self._start)

    def _check_head(self, module: nn.Module, given: Tensor) -> None:
        """The network returns a number for each code."""
        try:
            with preserved(module), torch.no_grad():
                out = module(given)
        except RuntimeError as error:
            raise EditError(
                f"the network does not take codes of {tuple(given.shape[1:])}: {error}"
            ) from error
        if not isinstance(out, Tensor) or tuple(out.shape) not in ((2,), (2, 1)):
            told = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise EditError(
                f"the network returns {told} for two codes of {tuple(given.shape[1:])}, and is to return one "
                "number for each, (2,) or (2, 1): give it a scalar head"
            )


def _check_norm(norm: object) -> None:
    """The bounds of the norm are two, or None."""
    if norm is None:
        return
    if not isinstance(norm, (tuple, list)) or len(norm) != 2:
        raise EditError(f"norm is {norm!r}: give a lower and an upper bound above 0, or None")
    low, high = (above_zero(each, "norm") for each in norm)
    if low > high:
        raise EditError(f"norm is {norm}: give a lower and an upper bound above 0, or None")
