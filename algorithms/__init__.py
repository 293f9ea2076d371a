"""The algorithm library: one algorithm a file, grouped by family."""
