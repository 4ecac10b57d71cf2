"""Calibration data: batches of example inputs, read and checked against the example of a graph."""

from naivegraph.calibration.calibration import Calibration, CalibrationBatch, check_calibration

__all__ = ["Calibration", "CalibrationBatch", "check_calibration"]
