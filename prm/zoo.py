"""python -m prm.zoo: list the reward models known by name."""

from prm.reading.zoo import main
from search.command import run

if __name__ == "__main__":
    run(main)
