"""Training and evaluation. Only ``videopool.engine.builders`` reads configurations.

A name is imported when it is first used, so ``import videopool.engine`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.engine.builders.parts import build_model as build_model
    from videopool.engine.builders.parts import read_list as read_list
    from videopool.engine.builders.testing import Trained as Trained
    from videopool.engine.builders.testing import build_test as build_test
    from videopool.engine.builders.testing import load_trained as load_trained
    from videopool.engine.builders.training import TrainingRun as TrainingRun
    from videopool.engine.builders.training import build_training as build_training
    from videopool.engine.checkpoints.files import CheckpointFolder as CheckpointFolder
    from videopool.engine.checkpoints.files import read_checkpoint as read_checkpoint
    from videopool.engine.cluster.distributed import World as World
    from videopool.engine.cluster.distributed import connect as connect
    from videopool.engine.cluster.distributed import disconnect as disconnect
    from videopool.engine.cluster.stop import StopRequest as StopRequest
    from videopool.engine.optimization.optimizers import build_optimizer as build_optimizer
    from videopool.engine.optimization.schedule import build_schedule as build_schedule
    from videopool.engine.scoring.assessment import Assessment as Assessment
    from videopool.engine.scoring.assessment import assess_scores as assess_scores
    from videopool.engine.scoring.ensemble import Ensemble as Ensemble
    from videopool.engine.scoring.ensemble import combine_scores as combine_scores
    from videopool.engine.scoring.evaluation import Evaluation as Evaluation
    from videopool.engine.scoring.evaluation import EvaluationPlan as EvaluationPlan
    from videopool.engine.scoring.evaluation import evaluate as evaluate
    from videopool.engine.scoring.paired import Comparison as Comparison
    from videopool.engine.scoring.paired import compare_scores as compare_scores
    from videopool.engine.scoring.score_file import ScoreFile as ScoreFile
    from videopool.engine.scoring.score_file import read_scores as read_scores
    from videopool.engine.scoring.scores import ClipScores as ClipScores
    from videopool.engine.scoring.scores import Metrics as Metrics
    from videopool.engine.scoring.scores import average_precision as average_precision
    from videopool.engine.scoring.scores import top_k as top_k
    from videopool.engine.step.split import Split as Split
    from videopool.engine.step.split import split_batch as split_batch
    from videopool.engine.step.train_step import StepHook as StepHook
    from videopool.engine.step.train_step import TrainStep as TrainStep
    from videopool.engine.step.train_step import Update as Update
    from videopool.engine.trainer import Intervals as Intervals
    from videopool.engine.trainer import RunFiles as RunFiles
    from videopool.engine.trainer import Trainer as Trainer

__getattr__, __dir__, __all__ = lazy_names(__name__)
