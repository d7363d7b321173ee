"""Graphs that leave the library: export to ONNX behind a parity gate, and predictors that run a file without torch."""

from lifecycle.onnx.export import export_onnx
from lifecycle.onnx.parity import ParityError, ParityReport
from lifecycle.onnx.predictor import Predictor, load_predictor
from lifecycle.onnx.repository import export_repository

__all__ = ["ParityError", "ParityReport", "Predictor", "export_onnx", "export_repository", "load_predictor"]
