"""python -m bench.throughput: see `bench.experiments.throughput`."""

from bench.experiments.throughput import main
from search.command import run

if __name__ == "__main__":
    run(main)
