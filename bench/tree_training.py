"""python -m bench.tree_training: see `bench.experiments.tree_training`."""

from bench.experiments.tree_training import main
from search.command import run

if __name__ == "__main__":
    run(main)
