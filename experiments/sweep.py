"""Train every combination of some numbers in one compiled program.

    sweep.py PRESET --grid learning_rate=1e-4,1e-3 gamma=0.9,0.99 [any option of train.py]

Leaves sensitivity.csv and sensitivity.png in the run directory, beside what every run leaves.
"""

import csv
import dataclasses
import io

from rich.console import Console

from jaxq import cli, plots, results
from jaxq.errors import ConfigError
from jaxq.sweeps import differing, flatten, make_lanes, parse_grid


@dataclasses.dataclass(frozen=True)
class SweepOptions(cli.RunOptions):
    grid: tuple[str, ...] = ()
    """Numbers to sweep, each name=value,value,...; all combinations are trained."""


def sweep(arguments: list[str], console: Console) -> None:
    request = cli.parse(arguments, "sweep.py", SweepOptions)
    grid = parse_grid(request.options.grid)
    if request.options.resume:
        if grid:
            raise ConfigError(f"grid={list(grid)} cannot be changed by a resumed sweep.")
        swept = differing(request.lanes)
    else:
        if not grid:
            raise ConfigError("grid is empty; name=value,value is accepted.")
        request = request._replace(lanes=make_lanes(request.lanes[0], grid))
        swept = list(grid)
    directory, scores = cli.train(request, console)
    if not swept:
        return  # a resumed sweep over a single setting

    table = []
    for lane, score in zip(request.lanes, scores["lanes"]):
        values = flatten(lane)
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
        f"{request.name}: evaluation IQM at step {scores['steps']:,}, 95% interval over "
        f"{first['num_seeds']} seeds"
    )
    plots.draw_sensitivity(directory / "sensitivity.png", table, swept, title)
    console.print(f"Sensitivity: {directory / 'sensitivity.png'}", soft_wrap=True)


if __name__ == "__main__":
    cli.main(sweep)
