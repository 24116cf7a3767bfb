"""python -m prm.evaluate: measure reward models."""

from prm.evaluation.evaluate import main
from search.command import run

if __name__ == "__main__":
    run(main)
