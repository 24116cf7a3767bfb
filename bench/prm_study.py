"""python -m bench.prm_study: see `bench.experiments.prm_study`."""

from bench.experiments.prm_study.__main__ import main
from search.command import run

if __name__ == "__main__":
    run(main)
