"""Runs that nobody trained: their directories, and what a report of them says."""

import numpy as np

from jaxq.config import Config, HParams
from jaxq.documents import plain_numbers
from jaxq.loops.evaluation import Evaluation
from jaxq.recipes.presets import PRESETS
from jaxq.reports.report import write_report
from jaxq.runs import files as results
from jaxq.runs.history import History, write_history
from jaxq.scoring.protocol import make_protocol, own_part

SEEDS, TIMES, EPISODES = 6, 4, 2
PROTOCOL = {
    "environment": "CartPole-v1",
    "time_limit": "bootstrap",
    "num_actions": 2,
    "sticky_actions": 0.0,
}
MINATAR = {"num_actions": 6, "sticky_actions": 0.1}


def make_run(path, level=1.0, *, settings=({},), diverged=(), complete=True, metrics=(), **changes):
    """A run directory whose lane h has scores around ``level + h``.

    Args:
      settings: numbers of every lane.
      diverged: (lane, seed) whose loss is not finite.
      metrics: names of metrics of one's own.
      changes: of the configuration, the protocol (a dictionary) and the name of the preset.
    """
    random, config = np.random.default_rng(int(100 * level)), {"preset": "dqn-cartpole"}
    protocol = {**PROTOCOL, **changes.pop("protocol", {})}
    config["preset"] = changes.pop("preset", config["preset"])
    numbers = [plain_numbers(HParams()._replace(**setting)) for setting in settings]
    document = {
        **config,
        "steps": 1_000 * TIMES,
        "seeds": list(range(SEEDS)),
        "config": vars(Config()) | changes,
        "lanes": numbers,
    }
    results.create(path, document)
    history = History(len(settings), SEEDS)
    offsets = np.repeat(np.arange(len(settings)), SEEDS)  # [M]
    loss = np.ones((len(settings), SEEDS))
    for member in diverged:
        loss[member] = np.nan
    for time in range(1, TIMES + 1):
        returns = (level + offsets + random.normal(size=len(offsets)))[:, None] * np.ones(EPISODES)
        evaluation = Evaluation(returns, returns, np.ones_like(returns, bool), returns)
        own = {name: returns[:, 0].astype(np.float32) for name in metrics}
        history.append(1_000 * time, {"loss": loss.ravel(), **own}, evaluation)
    write_history(path, history, history.arrays())
    last = history.arrays()["eval_return"][..., -1]
    protocol = make_protocol(protocol, {"gymnax": "1.0.1"}, document["config"], numbers)
    scores = [
        {"per_seed": last[lane], "episodes_per_seed": EPISODES, "episodes_cut": 0}
        | {"protocol": own_part(protocol, numbers[lane])}
        for lane in range(len(settings))
    ]
    document = {"steps": 1_000 * TIMES, "protocol": protocol, "lanes": scores}
    results.write_json(path / results.SCORES, document)
    session = {"started": "2020-01-02", "versions": {"gymnax": "1.0.1"}, "commit": "abc123"}
    meta = {"members": {"batch": 3}, "sessions": [session], "seconds": 9.0, "stopped_by": "steps"}
    results.write_json(path / results.META, meta)
    if complete:
        results.write_text(path / results.COMPLETE, "")
    return path


def read(path):
    """The page and the tables of a report."""
    return path.read_text(), path.with_suffix(".md").read_text()


def make_preset_run(path, name, level=1.0, environment="", **changes):
    """A run of a preset on MinAtar, or of a changed one."""
    preset = PRESETS[name.partition(" ")[0]]
    settings = changes.pop("settings", ({},))
    environment = environment or preset.config.env
    config = {**vars(preset.config), "env": environment, **changes}
    lanes = [preset.hparams._replace(**setting)._asdict() for setting in settings]
    freeway = {"time_limit": "terminal"} if environment.startswith("Freeway") else {}
    protocol = {**MINATAR, "environment": environment, **freeway}
    return make_run(path, level, settings=lanes, preset=name, protocol=protocol, **config)


def report(tmp_path, *runs):
    write_report(runs, tmp_path / "report.html")
    return read(tmp_path / "report.html")


def row(text, name):
    """The cells of the first row of a Markdown table that is called ``name``."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split(" | ")[1:]]
