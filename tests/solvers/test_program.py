from typing import Any

import numpy as np
import pytest

from naivegraph.solvers import Outcome, Program, Solution, solve


def two_columns() -> Program:
    program = Program()
    program.columns(["a", "b"], 0, [4, 6], objective=[1.0, 2.0])
    return program


def dense(program: Program) -> np.ndarray[Any, Any]:
    rows = program.arrays().rows
    matrix = np.zeros((rows.count, len(program.column_names)))
    matrix[rows.owners, rows.indices] = rows.values
    return matrix


def test_columns_and_rows_are_kept_in_order() -> None:
    program = two_columns()
    assert program.column("c", -np.inf, 1.5, integer=False) == 2
    assert program.row("first", [0, 2], [1.0, -3.0], upper=5) == 0
    assert program.rows(
        [0, 1, 3], [1, 0, 1], [2.0, 4.0, 5.0], [-1, 0], np.inf, ["second", "third"], requests="r"
    ) == range(1, 3)
    arrays = program.arrays()
    assert arrays.lower.tolist() == [0, 0, -np.inf]
    assert arrays.upper.tolist() == [4, 6, 1.5]
    assert arrays.cost.tolist() == [1, 2, 0]
    assert arrays.integer.tolist() == [True, True, False]
    assert dense(program).tolist() == [[1, 0, -3], [0, 2, 0], [4, 5, 0]]
    assert arrays.rows.lower.tolist() == [-np.inf, -1, 0]
    assert arrays.rows.upper.tolist() == [5, np.inf, np.inf]
    assert program.row_names == ("first", "second", "third")
    assert program.requests == ("r",)
    assert program.index("c") == 2
    assert repr(program) == "Program(3 columns, 2 of them integer, 3 rows, 0 concave terms, 1 requests)"


def test_a_column_named_twice_in_a_row_counts_with_the_sum_and_zeros_vanish() -> None:
    program = two_columns()
    program.row("r", [0, 1, 0, 1], [1.0, 2.0, 3.0, -2.0], upper=3)
    assert program.arrays().rows.indices.tolist() == [0]
    assert program.arrays().rows.values.tolist() == [4]
    program.row("empty", [0], [0.0], lower=-1)
    assert dense(program).tolist() == [[4, 0], [0, 0]]
    assert solve(program).objective == 12.0


def test_a_row_without_entries_decides_by_its_bounds() -> None:
    program = two_columns()
    program.row("nothing", [], [], upper=0)
    assert solve(program).outcome is Outcome.OPTIMAL
    program.row("something of nothing", [], [], lower=1)
    assert solve(program).outcome is Outcome.INFEASIBLE


def test_a_program_without_columns_is_solved() -> None:
    program = Program()
    for backend in ("highs", "pulp"):
        solution = solve(program, backend=backend)
        assert solution.outcome is Outcome.OPTIMAL
        assert solution.objective == 0.0
    program.row("something of nothing", [], [], lower=1)
    assert solve(program).outcome is Outcome.INFEASIBLE


def test_copies_are_independent() -> None:
    program = two_columns()
    program.row("r", [0], [1.0], upper=2, request="small")
    other = program.copy()
    other.column("c", 0, 1)
    other.row("s", [2], [1.0], upper=0, request="smaller")
    other.concave("f", 0, [0.0, 3.0, 4.0, 4.0, 4.0])
    other.set_objective([1], [7.0])
    assert program.column_names == ("a", "b")
    assert program.row_names == ("r",)
    assert program.terms == ()
    assert program.arrays().cost.tolist() == [1, 2]
    assert other.column_names == ("a", "b", "c", "f")
    assert other.requests == ("small", "smaller")
    assert other.arrays().cost.tolist() == [0, 7, 0, 1]
    with pytest.raises(ValueError, match="cannot be a function of another concave term"):
        other.concave("g", 3, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert program.concave("f", 0, [0.0, 3.0, 4.0, 4.0, 4.0]) == 2


def test_without_drops_all_rows_of_a_request_and_no_others() -> None:
    program = two_columns()
    for i, request in enumerate(["x", None, "y", "x"]):
        program.row(f"r{i}", [i % 2], [float(i + 1)], upper=float(i), request=request)
    rest = program.without({"x"})
    assert rest.row_names == ("r1", "r2")
    assert rest.requests == ("y",)
    assert dense(rest).tolist() == [[0, 2], [3, 0]]
    assert rest.arrays().rows.upper.tolist() == [1, 2]
    assert program.row_names == ("r0", "r1", "r2", "r3")
    rest.row("more", [0], [1.0], upper=1, request="z")
    assert program.requests == ("x", "y")
    with pytest.raises(ValueError, match="no row belongs to the request 'q'"):
        program.without(["x", "q"])


def test_set_objective_replaces_the_linear_part_and_keeps_concave_terms() -> None:
    program = two_columns()
    program.concave("f", 0, [0.0, 3.0, 5.0, 6.0, 6.5])
    program.set_objective([0, 0], [-1.0, -1.0])
    solution = solve(program)
    assert solution["a"] in (1.0, 2.0)
    assert solution.objective == 1.0
    with pytest.raises(ValueError, match="column 2 cannot get an objective coefficient"):
        program.set_objective([2], [1.0])
    with pytest.raises(ValueError, match="column 'b' has the objective coefficient nan"):
        program.set_objective([1], [np.nan])


COLUMN_ERRORS = [
    ({"lower": np.nan, "upper": 1}, "column 'c' has the lower bound nan"),
    ({"lower": np.inf, "upper": np.inf}, "column 'c' has the lower bound inf"),
    ({"lower": 0, "upper": np.nan}, "column 'c' has the upper bound nan"),
    ({"lower": 0, "upper": -np.inf}, "column 'c' has the upper bound -inf"),
    ({"lower": 2, "upper": 1}, "column 'c' has its lower bound 2.0 above its upper bound 1.0"),
    ({"lower": 0, "upper": 1, "objective": np.inf}, "column 'c' has the objective coefficient inf"),
]


@pytest.mark.parametrize(("arguments", "message"), COLUMN_ERRORS)
def test_columns_say_what_is_wrong_and_add_nothing(arguments: dict[str, Any], message: str) -> None:
    program = two_columns()
    with pytest.raises(ValueError, match=message):
        program.column("c", **arguments)
    assert program.column_names == ("a", "b")
    assert len(program.arrays().lower) == 2


def test_column_names_are_unique() -> None:
    program = two_columns()
    with pytest.raises(ValueError, match="column 'b' exists already"):
        program.columns(["c", "b"], 0, 1)
    with pytest.raises(ValueError, match="column 'd' exists already"):
        program.columns(["c", "d", "d"], 0, 1)
    with pytest.raises(ValueError, match="column 'a' exists already"):
        program.concave("a", 0, [0.0, 1.0, 1.0, 1.0, 1.0])
    assert program.column_names == ("a", "b")
    assert program.terms == ()
    with pytest.raises(ValueError, match=r"lower: expected 2 numbers or one, not an array of shape \(3,\)"):
        program.columns(["c", "d"], [0, 0, 0], 1)


ROW_ERRORS = [
    (([0], [np.nan], {"upper": 1}), "row 'r' has the coefficient nan for column 'a'"),
    (([0, 1], [1.0, -np.inf], {"upper": 1}), "row 'r' has the coefficient -inf for column 'b'"),
    (([0], [1.0], {"upper": np.nan}), "row 'r' has the upper bound nan"),
    (([0], [1.0], {"lower": np.inf}), "row 'r' has the lower bound inf"),
    (([0], [1.0], {"lower": 3, "upper": 2}), "row 'r' has its lower bound 3.0 above its upper bound 2.0"),
    (([0, 2], [1.0, 1.0], {"upper": 1}), "row 'r' names column 2, but there are 2 columns"),
    (([-1], [1.0], {"upper": 1}), "row 'r' names column -1"),
    (([0], [1.0, 2.0], {"upper": 1}), "coefficients of row 'r': expected 1 numbers or one"),
]


@pytest.mark.parametrize(("arguments", "message"), ROW_ERRORS)
def test_rows_say_what_is_wrong_and_add_nothing(arguments: tuple[Any, Any, Any], message: str) -> None:
    program = two_columns()
    with pytest.raises(ValueError, match=message):
        program.row("r", arguments[0], arguments[1], **arguments[2])
    assert program.row_names == ()
    assert program.arrays().rows.count == 0


def test_bulk_rows_check_their_shape() -> None:
    program = two_columns()
    with pytest.raises(ValueError, match="2 rows need 3 starts that begin at 0"):
        program.rows([0, 1], [0, 1], [1.0, 1.0], 0, 1, ["r", "s"])
    with pytest.raises(ValueError, match="hold 3 entries, but there are 2 indices and 2 values"):
        program.rows([0, 1, 3], [0, 1], [1.0, 1.0], 0, 1, ["r", "s"])
    with pytest.raises(ValueError, match="2 rows need 2 requests, not 1"):
        program.rows([0, 1, 2], [0, 1], [1.0, 1.0], 0, 1, ["r", "s"], requests=["q"])
    with pytest.raises(ValueError, match="row 's' has the coefficient inf for column 'b'"):
        program.rows([0, 1, 2], [0, 1], [1.0, np.inf], 0, 1, ["r", "s"])


CONCAVE_ERRORS = [
    (0, [0.0, 1.0, 3.0, 3.0, 3.0], r"term 'f' is not concave at 1: it gains 1 before and 2 after"),
    (0, [0.0, np.nan, 3.0, 3.0, 3.0], "term 'f' has the value nan"),
    (0, [0.0, 1.0], "term 'f' has values for 0 to 1, but column 'a' may be 0 to 4"),
    (2, [0.0, 1.0], "term 'f' has values for 0 to 1, but column 'down' may be -1 to 1"),
    (9, [0.0, 1.0], "term 'f' names column 9, but there are 3 columns"),
    (0, [], "term 'f' needs a list of at least one value"),
]


@pytest.mark.parametrize(("column", "values", "message"), CONCAVE_ERRORS)
def test_concave_says_what_is_wrong(column: int, values: list[float], message: str) -> None:
    program = two_columns()
    program.column("down", -1, 1)
    with pytest.raises(ValueError, match=message):
        program.concave("f", column, values)
    assert program.terms == ()


def test_a_row_may_ask_a_concave_term_to_be_large_only() -> None:
    program = two_columns()
    f = program.concave("f", 0, [0.0, 3.0, 5.0, 6.0, 6.5])
    with pytest.raises(ValueError, match="row 'cap' asks concave term 'f' to stay small"):
        program.row("cap", [f], [1.0], upper=4)
    with pytest.raises(ValueError, match="row 'equal' asks concave term 'f' to stay small"):
        program.row("equal", [f, 0], [-1.0, 1.0], lower=0, upper=2)
    program.set_objective([0], [-10.0])
    program.row("floor", [f], [1.0], lower=5)
    solution = solve(program)
    assert solution["a"] == 2.0
    assert solution["f"] == 5.0
    assert solution.objective == -15.0


def test_a_solution_is_read_by_name() -> None:
    program = two_columns()
    solution = solve(program)
    assert solution["b"] == 6.0
    assert bool(solution)
    with pytest.raises(KeyError, match="no column is named 'c'"):
        solution["c"]
    with pytest.raises(KeyError, match="no column is named 'c'"):
        program.index("c")
    program.row("no", [0], [1.0], lower=9)
    nothing = solve(program)
    assert not nothing
    with pytest.raises(ValueError, match="no value for column 'a': No answer satisfies all rows at once"):
        nothing["a"]


def test_gap_is_relative_and_infinite_without_proof() -> None:
    values = np.zeros(1)
    assert Solution(Outcome.FEASIBLE, values, -4.0, -3.0, 0.0).gap == 0.25
    assert Solution(Outcome.FEASIBLE, values, 4.0, np.inf, 0.0).gap == np.inf
    assert Solution(Outcome.NO_ANSWER, None, -np.inf, 3.0, 0.0).gap == np.inf
    assert Solution(Outcome.OPTIMAL, values, 0.0, 0.0, 0.0).gap == 0.0


def test_every_outcome_has_a_sentence() -> None:
    sentences = [outcome.sentence for outcome in Outcome]
    assert len(set(sentences)) == 6
    assert all(sentence.endswith(".") for sentence in sentences)
