"""Evaluate score files: metrics, breakdowns, comparisons, protocols and published results."""
