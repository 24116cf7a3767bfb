"""python -m prm.calibrate: calibrate a reward model."""

from prm.evaluation.calibrate import main
from search.command import run

if __name__ == "__main__":
    run(main)
