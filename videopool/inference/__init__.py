"""Predictions with a trained network: from a checkpoint or an export, with the pipeline of the evaluation."""

from videopool.inference.classifier import Classifier, Prediction, Scores, load

__all__ = ["Classifier", "Prediction", "Scores", "load"]
