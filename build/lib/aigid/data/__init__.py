"""Datasets: index, layouts, the demo, audits."""
