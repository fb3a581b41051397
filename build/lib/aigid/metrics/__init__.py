"""Metrics: pure functions of labels and scores, with confidence intervals, calibration and decision rules."""
