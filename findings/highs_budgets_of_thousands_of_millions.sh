#!/usr/bin/env bash
# HiGHS compares rows with a tolerance of 1e-9 at best. In a budget of whole numbers above about 1e9 that is more
# than one unit: it calls an answer optimal that exceeds the budget by one, and where many sums lie within the
# tolerance it also calls an answer optimal although a better one meets the budget exactly.
#
# Seen with highspy 1.15.1 (numpy 2.4.6, Python 3.11, Linux x86-64):
#   1. maximise x + y, binaries, 1234567890 x + 1234567891 y <= 2469135780: x = y = 1, "Optimal"; the budget is
#      exceeded by 1.
#   2. eight binaries of nearly equal weights, one of the sums ruled out by x0 + x3 <= 1: 3.0, "Optimal", proven
#      bound 3.0; x3 = x6 = 1 is worth 3.5 and meets the row exactly.
# Exits 0 while HiGHS behaves so, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highspy==1.15.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import highspy
import numpy as np


def solve(costs, rows):
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    for name in ("mip_feasibility_tolerance", "primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        highs.setOptionValue(name, 1e-9)
    highs.setOptionValue("small_matrix_value", 1e-12)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("mip_abs_gap", 1e-9)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(costs), len(rows)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.array(costs, dtype=float)
    lp.col_lower_, lp.col_upper_ = np.zeros(len(costs)), np.ones(len(costs))
    lp.row_lower_ = np.full(len(rows), -np.inf)
    lp.row_upper_ = np.array([limit for _, limit in rows], dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *(len(row) for row, _ in rows)]).astype(np.int32)
    lp.a_matrix_.index_ = np.array([i for row, _ in rows for i in row], dtype=np.int32)
    lp.a_matrix_.value_ = np.array([a for row, _ in rows for a in row.values()], dtype=float)
    highs.passModel(lp)
    whole = np.arange(len(costs), dtype=np.int32)
    kinds = np.full(len(costs), int(highspy.HighsVarType.kInteger), dtype=np.uint8)
    highs.changeColsIntegrality(len(costs), whole, kinds)
    highs.run()
    status = highs.modelStatusToString(highs.getModelStatus())
    return [round(x) for x in highs.getSolution().col_value], status, highs.getInfo().mip_dual_bound


a = 1234567890
unit = 2.0**-30
found, status, _ = solve([1, 1], [({0: a * unit, 1: (a + 1) * unit}, 2 * a * unit)])
total = a * found[0] + (a + 1) * found[1]
print(f"1. {status}: x, y = {found}; the budget {2 * a:,} is exceeded by {total - 2 * a}")
first = status == "Optimal" and total > 2 * a

unit, scale = 51670340845, 2.0**-36
weights = [unit + more for more in (2, 2, 0, 0, 2, 2, 0, 0)]
costs, limit = [2, 1, 1, 2, 1, 1, 1.5, 1.5], 2 * unit
budget = ({i: weight * scale for i, weight in enumerate(weights)}, limit * scale)
found, status, bound = solve(costs, [budget, ({0: 1.0, 3: 1.0}, 1.0)])
better = weights[3] + weights[6] <= limit and costs[3] + costs[6]
value = sum(c * x for c, x in zip(costs, found))
print(f"2. {status}: {value}, bound {bound}; x3 = x6 = 1 is worth {better} and weighs {weights[3] + weights[6]:,} of {limit:,}")
second = status == "Optimal" and bound < better
raise SystemExit(0 if first and second else 1)
PYTHON
