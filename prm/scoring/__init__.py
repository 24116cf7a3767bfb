"""Reward models as `StepScorer`s, on vLLM and on transformers.

    async with load_scorer("qwen-prm-7b", "vllm") as scorer:
        scores = await scorer.score(problem, steps)
"""

from prm.scoring.scorers import Ensemble, HFScorer, ManagedScorer, VLLMScorer, load_scorer

__all__ = ["Ensemble", "HFScorer", "ManagedScorer", "VLLMScorer", "load_scorer"]
