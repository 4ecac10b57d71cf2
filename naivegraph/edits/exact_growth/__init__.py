"""Growth through the statistics of norms with the function kept."""
