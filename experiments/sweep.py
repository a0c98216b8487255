"""Train every combination of some numbers in one compiled program.

    sweep.py PRESET --grid learning_rate=1e-4,1e-3 gamma=0.9,0.99 [any option of train.py]

Leaves sensitivity.csv and sensitivity.png in the run directory, beside what every run leaves.
"""

import csv
import dataclasses
import io

from rich.console import Console

from jaxq import cli, plots, results
from jaxq.config import hparams_from_dict
from jaxq.errors import ConfigError
from jaxq.sweeps import make_lanes, parse_grid


@dataclasses.dataclass(frozen=True)
class SweepOptions(cli.RunOptions):
    grid: tuple[str, ...] = ()
    """Numbers to sweep, each name=value,value,...; all combinations are trained."""


def sweep(arguments: list[str], console: Console) -> None:
    name, options, config, hparams, preset = cli.parse(arguments, "sweep.py", SweepOptions)
    if options.resume:
        lanes = [hparams_from_dict(x) for x in results.read_document(options.resume)["lanes"]]
        swept = _swept(lanes)
    else:
        grid = parse_grid(options.grid)
        if not grid:
            raise ConfigError("grid is empty; name=value,value is accepted.")
        lanes, swept = make_lanes(hparams, grid), list(grid)
    directory, scores = cli.train(name, config, lanes, preset, options, console)

    table = []
    for lane, score in zip(lanes, scores["lanes"]):
        values = {**lane._asdict(), **{f"env_params.{k}": v for k, v in lane.env_params.items()}}
        low, high = score["iqm_95"]
        settings = {field: values[field] for field in swept}
        numbers = {"iqm": score["iqm"], "low": low, "high": high, "mean": score["mean"]}
        table.append({**settings, **numbers, "worst": score["worst"], "seeds": score["num_seeds"]})
    text = io.StringIO()
    writer = csv.DictWriter(text, table[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    results.write_text(directory / "sensitivity.csv", text.getvalue())
    first = scores["lanes"][0]
    title = (
        f"{name}: evaluation IQM at step {scores['steps']:,}, 95% interval over "
        f"{first['num_seeds']} seeds"
    )
    plots.draw_sensitivity(directory / "sensitivity.png", table, swept, title)
    console.print(f"Sensitivity: {directory / 'sensitivity.png'}", soft_wrap=True)


def _swept(lanes) -> list[str]:
    """The names of the numbers in which lanes differ."""
    flat = [
        {**lane._asdict(), **{f"env_params.{k}": v for k, v in lane.env_params.items()}}
        for lane in lanes
    ]
    names = [name for name in flat[0] if name != "env_params"]
    return [name for name in names if len({values[name] for values in flat}) > 1]


if __name__ == "__main__":
    cli.main(sweep)
