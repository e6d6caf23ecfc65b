"""Predictions with a trained network: from a checkpoint or an export, with the pipeline of the evaluation."""

from videopool.inference.backends import Backend
from videopool.inference.classifier import Classifier, Prediction, Scores, load
from videopool.inference.features import Features
from videopool.inference.timeline import Segment, Timeline, Window

__all__ = ["Backend", "Classifier", "Features", "Prediction", "Scores", "Segment", "Timeline", "Window", "load"]
