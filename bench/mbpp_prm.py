"""python -m bench.mbpp_prm: see `bench.experiments.mbpp_prm`."""

from bench.experiments.mbpp_prm import main
from search.command import run

if __name__ == "__main__":
    run(main)
