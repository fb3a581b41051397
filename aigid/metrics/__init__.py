"""Metrics: pure functions of labels and scores, with confidence intervals, calibration and decision rules."""

from typing import Literal

CalibratorKind = Literal["temperature", "platt", "beta", "isotonic"]
Period = Literal["day", "week", "month", "quarter", "year"]  # of batches of images over time
