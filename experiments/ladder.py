"""What each ingredient of DQN buys: four CartPole rungs, and a stream, in one figure.

    ladder.py [--seeds 16] [--steps 500000] [--out runs/ladder]

Every rung is a preset, trained as by train.py in a run directory of its own. A rung that is
already complete is not trained again, so an interrupted ladder goes on where it stopped.
"""

import dataclasses
from pathlib import Path

from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.recipes.presets import PRESETS
from jaxq.scoring import plots

RUNGS = {
    "online-q-cartpole": "online Q-learning",
    "stream-q-cartpole": "online, with traces and bounded steps (Stream Q)",
    "replay-q-cartpole": "+ experience replay",
    "dqn-cartpole": "+ target network (DQN)",
    "double-dqn-cartpole": "+ double Q-learning",
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    seeds: int = 16
    """Seeds of every rung."""
    steps: int = 500_000
    """Environment steps per seed."""
    out: Path = Path("runs/ladder")
    """Directory of the runs and the figure."""


def ladder(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="ladder.py", description=__doc__)
    jobs = {
        label: (name, PRESETS[name]._replace(steps=args.steps), args.seeds)
        for name, label in RUNGS.items()
    }
    curves = tasks.train_each(jobs, args.out, console)
    path = args.out / "ladder.png"
    plots.draw_comparison(path, curves, "CartPole-v1: what each ingredient buys")
    tasks.say(console, f"Figure: {path}")


if __name__ == "__main__":
    cli.main(ladder)
