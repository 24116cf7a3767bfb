"""python -m bench.prm800k: see `bench.experiments.prm800k`."""

from bench.experiments.prm800k import main
from search.command import run

if __name__ == "__main__":
    run(main)
