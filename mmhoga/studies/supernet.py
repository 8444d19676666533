"""The score of a genotype by the supernet of a finished search, as the objective of a study."""

from __future__ import annotations

from collections.abc import Sequence

from mmhoga.search.selection import SupernetScore, derived_architecture
from mmhoga.studies.costs import NetworkCost
from mmhoga.studies.study import Claim


class SupernetObjective:
    """Scores the genotype of each trial with the weights of a supernet. Nothing is trained.

    Where a search has an alpha per stage, the genotype is that of every stage.

    Args:
        score: of the finished search.
        metric: key of ``score``'s metrics; None is the first one.
        cost: a second objective.
    """

    def __init__(self, score: SupernetScore, metric: str | None = None, cost: NetworkCost | None = None) -> None:
        self.score, self.metric, self.cost = score, metric, cost

    def __call__(self, claim: Claim) -> Sequence[float]:
        """The metric and the cost. ValueError if the search has no such metric."""
        genotypes = dict.fromkeys(self.score.model.named_alphas(), claim.proposal)
        metrics = self.score(genotypes)
        key = self.metric or next(iter(metrics))
        if key not in metrics:
            raise ValueError(f'The supernet has no metric {key!r}. It has {", ".join(metrics)}.')
        claim.trial.set_user_attr('metrics', metrics)
        if self.cost is None:
            return [metrics[key]]
        cost = self.cost(derived_architecture(self.score.model, genotypes))
        claim.trial.set_user_attr('cost', cost)
        return [metrics[key], cost]
