"""A few random steps of somebody's environment: what is legal and hardly meant, and how fast it is.

What probes find cannot be trained on. What is found here can: values that no network expects, and
episodes whose end says another thing than it should.
"""

import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.envs.episodes import RawEnv, from_raw
from jaxq.envs.probing import Forms
from jaxq.legal import at_least_one, said_legal, uniform
from jaxq.types import Env, PyTree, observation_of

NUM_ENVS, NUM_STEPS = 8, 500
_EPISODES = 10  # of one length, before that is taken for a rule
_FAR = 1_000_000  # steps; a limit beyond it is none
_STEPS = f"in {NUM_ENVS * NUM_STEPS:,} random steps"
_TIMED = 100  # steps between two looks at the clock


class Seen(NamedTuple):
    """What random steps have shown, leaves [T, E]."""

    lowest: jax.Array  # [1 + T, E], of the first observation and of that after each step, before
    # any reset
    highest: jax.Array
    outside: jax.Array  # whether it leaves the declared space
    stuck: jax.Array  # whether no action was legal before it
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    length: jax.Array  # of an episode so far
    total_reward: jax.Array


class Speed(NamedTuple):
    """How fast random steps are."""

    steps_per_second: float  # of all environments together
    compile_seconds: float


def warn_of_random_steps(env: Env, raw: RawEnv | None = None, forms: Forms | None = None) -> None:
    """Warn, each once, of what ``look_at`` finds.

    Args:
      env: as it is trained on, of any number of environments.
      raw: what it was made from, if that is known; without it spaces and limits are not.
      forms: what that returns, if it is known.
    """
    for sentence in look_at(env, raw, forms)[1]:
        warnings.warn(sentence, stacklevel=3)


def look_at(
    env: Env, raw: RawEnv | None = None, forms: Forms | None = None
) -> tuple[Seen, list[str]]:
    """What random steps show, and a sentence for each thing that is hardly meant.

    That is: values that are not finite or outside of the declared space, a limit that arrives as a
    termination or not at all, episodes that never end, and a choice between one action.

    Args:
      env, raw, forms: as ``warn_of_random_steps`` has them.
    """
    bounds, limit, sentences = (-np.inf, np.inf), np.nan, []  # nan: not known
    played, time_limit = env, env.protocol.get("time_limit")
    if raw is not None:
        as_numbers = raw._replace(observations="numbers")
        played = from_raw(as_numbers, env.name, NUM_ENVS, time_limit, forms)
        limit = getattr(raw.params, raw.limit, np.inf)
        obs, _ = jax.eval_shape(raw.reset, jax.random.key(0), raw.params)
        shape = getattr(observation_of(obs), "shape", None)  # without one it is several arrays
        bounds = bounds if shape is None else _bounds(raw.space)
        declared = getattr(raw.space, "shape", shape)
        if shape is not None and np.atleast_1d(declared).tolist() != list(shape):
            sentences.append(
                f"shows observations of shape {list(shape)}, and its observation_space is of shape "
                f"{np.atleast_1d(declared).tolist()}."
            )
    seen = _play(played, bounds)
    is_one_hot = observation_of(env.obs_spec).dtype == jnp.bool_
    sentences += _odd(seen, time_limit, float(np.max(limit)), is_one_hot)
    if env.num_actions == 1:
        sentences.append("has one action, so that there is nothing to choose.")
    return seen, [f"env={env.name} {sentence}" for sentence in sentences]


def _odd(
    seen: Seen, time_limit: str | None, limit: float, is_one_hot: bool = False
) -> Iterator[str]:
    lowest, highest = float(seen.lowest.min()), float(seen.highest.max())
    if not np.isfinite([lowest, highest]).all():
        yield f"showed an observation that is not finite {_STEPS}."
    elif seen.outside.any():
        one_hot = "; as integers they are shown as nothing at all" if is_one_hot else ""
        yield (
            f"showed values from {lowest:g} to {highest:g} {_STEPS}, which its observation_space "
            f"does not hold{one_hot}."
        )
    if seen.stuck.any():
        yield (
            f"had no legal action in {seen.stuck.sum():,} of {seen.stuck.size:,} random steps, so "
            f"that an illegal one was taken; a state without any must end the episode."
        )
    if not np.isfinite(seen.reward).all():
        yield f"gave a reward that is not finite {_STEPS}."
    lengths = seen.length[seen.done]
    if len(lengths) == seen.done.size:
        yield f"ended every episode after one step {_STEPS}; only a bandit does so."
    if (longest := seen.length.max()) > limit:
        yield (
            f"had an episode of {longest:,} steps {_STEPS}, and its time limit is {limit:,.0f}, "
            f"which its step does not heed."
        )
    # One length of all, or a limit at which all of those end that come so far.
    last = limit if limit in lengths else lengths.max(initial=0)
    whole = lengths == last
    is_rule = whole.sum() >= _EPISODES and last > 1 and (last == limit or whole.all())
    if is_rule and time_limit == "bootstrap" and seen.terminated[seen.done][whole].all():
        yield (
            f"terminated after {last:,.0f} steps in all of {whole.sum():,} episodes of that length "
            f"{_STEPS}; a time limit belongs to is_truncated, or nothing bootstraps through it."
        )
    if not len(lengths) and not seen.done.any() and limit > _FAR:
        yield (
            f"ended no episode in {NUM_STEPS} random steps and has no time limit; evaluation "
            f"cuts episodes, and training never sees an end."
        )


def measure_speed(env: Env, seconds: float = 1.0) -> Speed:
    """How many random steps a second ``env`` makes, over about so many seconds."""

    def run(key: jax.Array, state: PyTree) -> tuple[PyTree, jax.Array]:
        state, rewards = jax.lax.scan(
            lambda state, key: _step(env, state, key)[:2], state, jax.random.split(key, _TIMED)
        )
        return state, rewards.sum()

    key = jax.random.key(0)
    start = time.perf_counter()
    first = jax.jit(lambda key: _begin(env, key)[0])(key)
    compiled = jax.jit(run).lower(key, first).compile()
    start, compile_seconds = time.perf_counter(), time.perf_counter() - start
    state, count = first, 0
    while count == 0 or time.perf_counter() - start < seconds:
        state, total = compiled(jax.random.fold_in(key, count), state)
        total.block_until_ready()
        count += 1
    rate = count * _TIMED * env.num_envs / (time.perf_counter() - start)
    return Speed(rate, compile_seconds)


def _begin(env: Env, key: jax.Array) -> tuple[PyTree, PyTree]:
    """What random steps go on from (which actions are said to be legal, and the state), and what
    it shows."""
    obs, state = env.reset(key, env.params({}))
    return (said_legal(obs), state), obs


def _step(env: Env, playing: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array, tuple]:
    """A random step: what goes on from it, rewards, and all that ``env`` returned."""
    said, state = playing
    key_step, key_action = jax.random.split(key)
    action = uniform(key_action, env.num_envs, env.num_actions, at_least_one(said))
    obs, state, *shown = env.step(key_step, state, action, env.params({}))
    return (said_legal(obs), state), shown[0].reward, tuple(shown)


def _play(env: Env, bounds: tuple[Any, Any]) -> Seen:
    """Random actions, in one small program."""
    low, high = bounds

    def extremes(obs: PyTree) -> tuple[jax.Array, jax.Array, jax.Array]:
        obs = observation_of(obs)
        flat = obs.astype(jnp.float32).reshape(env.num_envs, -1)
        outside = ((obs < low) | (obs > high)).reshape(env.num_envs, -1).any(axis=1)
        return flat.min(axis=1), flat.max(axis=1), outside

    def one(playing: PyTree, key: jax.Array) -> tuple[PyTree, Seen]:
        said = playing[0]
        stuck = jnp.zeros(env.num_envs, bool) if said is None else ~said.any(axis=1)
        playing, reward, (outcome, episode) = _step(env, playing, key)
        ends = outcome.terminated, outcome.done, episode.length, episode.total_reward
        return playing, Seen(*extremes(outcome.next_obs), stuck, reward, *ends)

    def play(key: jax.Array) -> tuple[Seen, tuple]:
        key_reset, key_steps = jax.random.split(key)
        start, obs = _begin(env, key_reset)
        seen = jax.lax.scan(one, start, jax.random.split(key_steps, NUM_STEPS))[1]
        return seen, extremes(obs)

    # It runs once: what optimizing it takes is more than it saves, above all where an observation
    # is constant, as that of an image still to be drawn.
    compiled = jax.jit(play).lower(jax.random.key(0)).compile(_QUICKLY)
    seen, first = jax.tree.map(np.asarray, compiled(jax.random.key(0)))
    shown = (np.vstack(pair) for pair in zip(first, seen))
    return seen._replace(**dict(zip(Seen._fields, shown)))


_QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_disable_hlo_passes": "constant_folding",
}


def _bounds(space: Any) -> tuple[Any, Any]:
    """The lowest and highest values of a space, with the room that rounding needs."""
    if hasattr(space, "n"):
        return 0, space.n - 1
    if not (hasattr(space, "low") and hasattr(space, "high")):
        return -np.inf, np.inf
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    low, high = low - 1e-5 * abs(low), high + 1e-5 * abs(high)
    most = float(np.finfo(np.float32).max)
    return tuple(np.clip(end, -most, most).astype(np.float32) for end in (low, high))
