"""The strategies, by their names on the command line. To add one, write a file and add a line here."""

from collections.abc import Mapping

from search.strategies.ab_mcts import ABMCTS
from search.strategies.adaptive_vote import AdaptiveVote
from search.strategies.beam import BeamSearch
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.dvts import DVTS
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.particle import ParticleFilter
from search.strategies.puct import PUCT
from search.strategies.rebase import REBASE
from search.strategies.self_consistency import SelfConsistency
from search.strategies.tot import TreeOfThoughts
from search.strategies.weighted_vote import WeightedVote
from search.tree import Strategy

STRATEGIES: Mapping[str, type[Strategy]] = {
    "cot": ChainOfThought,
    "hgs": HGS,
    "self_consistency": SelfConsistency,
    "adaptive_vote": AdaptiveVote,
    "best_of_n": BestOfN,
    "weighted_vote": WeightedVote,
    "beam": BeamSearch,
    "dvts": DVTS,
    "mcts": MCTS,
    "puct": PUCT,
    "ab_mcts": ABMCTS,
    "particle": ParticleFilter,
    "rebase": REBASE,
    "tot": TreeOfThoughts,
}
