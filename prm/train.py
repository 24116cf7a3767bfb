"""python -m prm.train: train a reward model, or the language model under it."""

from prm.training.train import main
from search.command import run

if __name__ == "__main__":
    run(main)
