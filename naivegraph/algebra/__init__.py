"""The algebra of axes: sums of products of widths, and their unification."""
