"""What others have published for the cells of a suite, and in what that differs from ours."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxq.reports.pages import Entry, Printed, Table
from jaxq.reports.sources import Source
from jaxq.reports.tables import INTERVAL, with_interval
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.stats import bootstrap


class Published(NamedTuple):
    """A number that somebody else has measured."""

    score: str  # as printed, or as read from a figure
    steps: int
    seeds: int | None  # None where the source does not say
    source: str
    differs: str  # from the cell


_YOUNG_TIAN = "Young & Tian 2019, learning curves (arXiv 1903.03176)"
_YOUNG_TIAN_DIFFERS = (
    "return of the behaviour (epsilon 0.1, running mean of 100 episodes) where ours is greedy; an "
    "update every step, a hidden layer of 128, centred RMSprop at the best of seven step sizes"
)
_REVISITING = "Obando-Ceron & Castro 2021, figures (arXiv 2011.14826)"
_REVISITING_DIFFERS = (
    "training return, mean over the last of ten iterations of 1M steps, where ours is greedy; no "
    "hidden layer, where ours has one of 128"
)
_ZOO = "RL Baselines3 Zoo, benchmark.md"
_ZOO_DIFFERS = "one agent, its mean over 150,000 steps; target periods are 250 and 600 steps"


# Both have played MinAtar before 1.0.11, of October 2022.
_OF_GAME = {"seaquest": "; an oxygen bar that shows full on the step before it runs out"}


def _row(games: dict[str, float], preset: str, differs: str, **about) -> dict[str, list[Published]]:
    return {
        f"{preset}-{game}": [
            Published(f"{score:g}", differs=differs + _OF_GAME.get(game, ""), **about)
        ]
        for game, score in games.items()
    }


def _games(*scores: float) -> dict[str, float]:
    return dict(zip(("asterix", "breakout", "freeway", "seaquest", "spaceinvaders"), scores))


def _joined(*tables: dict[str, list[Published]]) -> dict[str, list[Published]]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [one for table in tables for one in table.get(name, ())] for name in names}


_TEN_MILLION = {"steps": 10_000_000, "seeds": 10, "source": _REVISITING}
PUBLISHED: dict[str, dict[str, list[Published]]] = {
    "minatar-original": _joined(
        _row(
            _games(14.4, 9.6, 50.7, 4.8, 40.9),
            "revisited-dqn",
            steps=2_000_000,
            seeds=30,
            source=_YOUNG_TIAN,
            differs=_YOUNG_TIAN_DIFFERS,
        ),
        _row(
            _games(28.2, 7.5, 60.0, 5.4, 33.9),
            "revisited-dqn",
            **_TEN_MILLION,
            differs=_REVISITING_DIFFERS,
        ),
        _row(
            _games(41.8, 11.3, 57.0, 9.9, 92.5),
            "rainbow",
            **_TEN_MILLION,
            differs=_REVISITING_DIFFERS,
        ),
    ),
    "minatar": {
        "pqn-asterix": [
            Published(
                "70 to 72",
                10_000_000,
                3,
                "Gallici et al. 2024, their notebook's figure (arXiv 2407.04811)",
                "gymnax 0.0.6, in which limits end episodes for good; greedy, as ours",
            )
        ]
    },
    "control": {
        "dqn-acrobot": [Published("-76.6", 100_000, 1, _ZOO, _ZOO_DIFFERS)],
        "dqn-mountaincar": [Published("-100.8", 120_000, 1, _ZOO, _ZOO_DIFFERS)],
    },
}


def beside_published(suite: str | None, cells: Mapping[str, Source]) -> Table | None:
    """The cells of a suite beside every number that others have published for them."""
    rows, protocols = [], []
    for name, source in cells.items():
        for other in PUBLISHED.get(suite or "", {}).get(name, ()):
            for lane in source.lanes:
                if not len(lane.scores):
                    continue  # all seeds have diverged, as the report says elsewhere
                protocols.append(lane.protocol)
                rows.append(
                    [
                        name,
                        with_interval(bootstrap(lane.scores)),
                        f"{lane.run.scores['steps']:,}",
                        str(len(lane.scores)),
                        other.score,
                        f"{other.steps:,}",
                        str(other.seeds or "not said"),
                        Entry(other.source, other.differs),
                    ]
                )
    if not rows:
        return None
    words = protocol_words(protocols[0])
    caption = (
        f"Ours: IQM of the last evaluation. {INTERVAL}. Protocol of the first: {words}. Below a "
        f"source stands in what its number differs."
    )
    columns = ["ours (95%)", "steps", "seeds", "published", "their steps", "their seeds", "source"]
    return Table("Ours and theirs", caption, ["cell", *columns], rows, Printed(columns, caption))
