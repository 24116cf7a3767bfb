"""python -m prm.score: score the steps of solutions."""

from prm.scoring.score import main
from search.command import run

if __name__ == "__main__":
    run(main)
