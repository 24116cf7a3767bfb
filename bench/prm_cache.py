"""python -m bench.prm_cache: see `bench.experiments.prm_cache`."""

from bench.experiments.prm_cache import main
from search.command import run

if __name__ == "__main__":
    run(main)
