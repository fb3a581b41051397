"""python -m benchmarks.<name> prints a table, always as ratios against a named reference of the same run."""
