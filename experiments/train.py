"""Train a preset: train.py PRESET [--seeds N] [--steps N] [--out DIR] [any field or number].

PRESET is the name of a preset or the path of a config.json that a run has left.
"""

from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks


def train(arguments: list[str], console: Console) -> None:
    tasks.train(cli.parse(arguments, "train.py"), console)


if __name__ == "__main__":
    cli.main(train)
