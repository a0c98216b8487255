"""Evaluate a policy that a run has exported: evaluate.py RUN [--lane N] [--seed-index N].

Prints the returns of whole episodes and saves one of them as a GIF in the run directory.
"""

import dataclasses
from pathlib import Path

from jaxq.cli import main as cli  # first: it answers for what happens while the rest is imported

# isort: split
import jax
import numpy as np
import tyro
from rich.console import Console

from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.envs.probing import MOST_ENVS
from jaxq.errors import ConfigError
from jaxq.loops.evaluation import make_evaluator
from jaxq.printing import check_written, escape
from jaxq.recipes.experiment import make_env_from, make_experiment, make_raw_env_from
from jaxq.recipes.identity import same_parts
from jaxq.recipes.ranges import check_numbers
from jaxq.reports.render import save_gif
from jaxq.runs.policy import load_policy


@dataclasses.dataclass(frozen=True)
class Arguments:
    run: tyro.conf.Positional[Path]
    """Run directory."""
    lane: int = 0
    """Hyperparameter lane, as numbered in scores.json."""
    seed_index: int = 0
    """Which of the lane's seeds, counted from 0."""
    episodes: int = 100
    """Whole episodes to play."""
    epsilon: float = 0.0
    """Probability of a random action; 0 is greedy."""
    key: int = 12345
    """Seed of the evaluation itself."""
    gif: bool = True
    """Save an episode as a GIF."""
    max_frames: int = 500
    """Longest GIF, in steps."""
    trust: tuple[str, ...] = ()
    """Functions of your own, module:function, that the run may name."""
    accept_changed_code: bool = False
    """Functions of your own have changed since the run was made."""


def evaluate(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="evaluate.py", description=__doc__)
    if args.episodes < 1 or args.max_frames < 1:
        raise ConfigError(f"episodes={args.episodes} and max_frames={args.max_frames} must be > 0.")
    if args.episodes > MOST_ENVS:
        raise ConfigError(f"episodes={args.episodes} must be at most {MOST_ENVS:,}, side by side.")
    if not 0 <= args.key < 2**32:
        raise ConfigError(f"key={args.key} must be a number from 0 to 2^32 - 1.")
    policy = load_policy(args.run, args.trust)
    params = policy.member(args.lane, args.seed_index)
    hparams = policy.lanes[args.lane]._replace(eval_epsilon=args.epsilon)
    check_numbers(hparams)
    experiment = make_experiment(policy.config)  # nothing is learned, so a dataset may be gone
    changes = same_parts(policy.made_of, experiment.made_of, args.accept_changed_code)
    if changes:
        raise ConfigError(f"run={args.run} was made with a different {'; '.join(changes)}.")

    env = make_env_from(policy.config, args.episodes)
    play = jax.jit(make_evaluator(env, experiment.agent, policy.config.eval_max_steps))
    result = jax.device_get(play(params, jax.random.key(args.key), hparams))
    low, middle, high = np.percentile(result.returns, [5, 50, 95])
    console.print(
        f"{escape(policy.config.env)}, lane {args.lane}, seed {policy.seeds[args.seed_index]}, "
        f"epsilon {args.epsilon:g}: mean return [bold]{result.returns.mean():.4g}[/] over "
        f"{args.episodes} episodes (5% {low:.4g}, median {middle:.4g}, 95% {high:.4g}), "
        f"mean length {result.lengths.mean():.4g}, {np.sum(~result.finished)} cut at "
        f"{policy.config.eval_max_steps} steps.",
        soft_wrap=True,
        highlight=False,
    )
    check_written(console)
    if args.gif:
        path = args.run / f"policy-lane{args.lane}-seed{policy.seeds[args.seed_index]}.gif"
        env, key = make_env_from(policy.config, 1), jax.random.key(args.key)
        what = experiment.agent, params, hparams, key, args.max_frames
        tasks.say(console, f"Drawing an episode of at most {args.max_frames} frames ...")
        try:
            shown = save_gif(path, make_raw_env_from(policy.config)[0], env, *what)
            tasks.say(console, f"GIF of an episode with return {shown:.4g}: {path}")
        except ConfigError as error:  # the evaluation stands
            tasks.say(console, f"No GIF: {error}")


if __name__ == "__main__":
    cli.main(evaluate)
