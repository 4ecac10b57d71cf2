"""The algebra of axes: sums of products of widths, and what makes two of them equal."""
