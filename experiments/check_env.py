"""Can this environment be trained on? What it is, and what is hardly meant.

    check_env.py my_env:MyEnv [--env-kwargs size=7]
    check_env.py CartPole-v1 --env-params max_steps_in_episode 20

Everything that would be refused or warned of before training is said here, and then what the
environment is, what random steps of it come to and how fast they are. The exit code is 1 if there
is something to mend.
"""

import dataclasses
import sys
import warnings
from collections.abc import Mapping
from typing import Literal

from jaxq.cli import main as cli  # first: it answers for what happens while the rest is imported

# isort: split
import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from jaxq.cli.words import read
from jaxq.config import Config
from jaxq.envs.episodes import NEVER, RawEnv
from jaxq.envs.forms import place
from jaxq.envs.libraries import library_of, version_of
from jaxq.envs.own import form_of
from jaxq.envs.probing import LIMIT
from jaxq.envs.trying import NUM_ENVS, Seen, look_at, measure_speed
from jaxq.errors import ConfigError, require_devices
from jaxq.loops.rollout import record_shapes
from jaxq.printing import check_written, escape
from jaxq.recipes.experiment import make_env_from, raw_env_of
from jaxq.recipes.own import is_own, resolve
from jaxq.replay.records import make_codec
from jaxq.types import Env, observation_of


@dataclasses.dataclass(frozen=True)
class Arguments:
    env: tyro.conf.Positional[str]
    """Environment: module:function, found from the current directory, or a name."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, each name=value."""
    env_params: dict[str, float] = dataclasses.field(default_factory=dict)
    """Its parameters, names and numbers in turn, such as max_steps_in_episode 20."""
    time_limit: Literal["default", "bootstrap", "terminal"] = "default"
    """What reaching the time limit means; by default what the environment says."""
    num_envs: int = 128
    """Copies whose speed is measured."""


def check_env(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="check_env.py", description=__doc__)
    require_devices()
    config = Config(env=args.env, env_kwargs=args.env_kwargs, time_limit=args.time_limit)
    try:
        with warnings.catch_warnings(record=True) as told:
            env = _with_params(make_env_from(config, NUM_ENVS), args.env_params)
            many = _with_params(make_env_from(config, args.num_envs), args.env_params)
            raw, forms = raw_env_of(config)
            if raw:
                raw = raw._replace(params=raw.params.replace(**args.env_params))
    except ConfigError as error:
        cli.say_error(str(error))
        sys.exit(1)
    seen, sentences = look_at(env, raw, forms)
    sentences = [str(one.message) for one in told if one.category is UserWarning] + sentences
    speed, device = measure_speed(many), jax.devices()[0].platform
    lengths, returns = seen.length[seen.done], seen.total_reward[seen.done]
    table = Table(show_header=False, box=None)
    for name, words in {
        "form": _form(config),
        "observation": _observation(env, raw),
        "actions": _actions(env),
        "time limit": _time_limit(env, raw, seen),
        "replay": f"{4 * make_codec(record_shapes(env)).num_words:,} bytes a step",
        "episodes": _episodes(seen),
        "their lengths": _range(lengths),
        "their returns": _range(returns),
        "speed": f"{_rounded(speed.steps_per_second)} steps a second, {args.num_envs} copies on "
        f"one {device}",
        "compiled in": f"{speed.compile_seconds:.1f} s",
    }.items():
        if words:
            table.add_row(name, escape(words))
    console.print(f"[bold]{escape(args.env)}[/]", highlight=False)
    console.print(table)
    check_written(console)
    for sentence in dict.fromkeys(sentences):
        warnings.warn(sentence, stacklevel=1)
    sys.exit(1 if sentences else 0)


def _with_params(env: Env, given: Mapping[str, float]) -> Env:
    """``env`` with other parameters by default."""
    env.params(given)  # refuses what it has not
    return env._replace(params=lambda overrides: env.params({**given, **overrides}))


def _form(config: Config) -> str:
    if is_own(config.env):
        return form_of(resolve("env", config.env), config.env, config.env_kwargs)
    return " ".join(*version_of(library_of(config.env)).items())


def _observation(env: Env, raw: RawEnv | None) -> str:
    """What networks see, and what it is made from."""
    seen = _spec(observation_of(env.obs_spec))
    if raw is None:
        return seen
    obs, _ = jax.eval_shape(raw.reset, jax.random.key(0), raw.params)
    leaves = jax.tree.leaves_with_path(observation_of(obs))
    given = " and ".join(f"{place(path)} {_spec(leaf)}".strip() for path, leaf in leaves)
    return seen if seen == given else f"{seen}, from {given}"


def _actions(env: Env) -> str:
    legal = ", and observations say which are legal" if "illegal_actions" in env.protocol else ""
    return f"{env.num_actions}{legal}"


def _spec(spec: jax.ShapeDtypeStruct) -> str:
    return f"{spec.dtype}{list(spec.shape)}"


def _episodes(seen: Seen) -> str:
    """How many have ended, and how."""
    count, terminated = seen.done.sum(), seen.terminated.sum()
    how = f": {terminated:,} terminated, {count - terminated:,} truncated" if count else ""
    return f"{count or 'none'} ended in {seen.done.size:,} random steps{how}"


def _time_limit(env: Env, raw: RawEnv | None, seen: Seen) -> str:
    ends = env.protocol.get("time_limit") == "terminal"
    means = "the task ends there" if ends else "values bootstrap through it"
    field = raw.limit if raw else LIMIT
    limit = getattr(env.params({}), field, None)
    if limit is None:
        return f"what its step says; {means}"
    if limit >= NEVER:
        what = f"what its step says; {means};" if (seen.done & ~seen.terminated).any() else "none;"
        return f"{what} train.py sets one by --env-params {field} NUMBER"
    return f"{int(limit):,} steps; {means}"


def _range(values: np.ndarray) -> str:
    if not len(values):
        return ""
    low, middle, high = (f"{value:,.4g}" for value in np.percentile(values, [0, 50, 100]))
    return low if low == high else f"{low} to {high}, median {middle}"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"


if __name__ == "__main__":
    cli.main(check_env)
