"""Environments of other libraries: each against a loop over the library's own interface.

What needs a library is skipped where it is not installed; the extras ``pgx`` and others install it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.envs.libraries import LIBRARIES, check_installed, library_of, make_env, raw_of
from jaxq.errors import ConfigError
from jaxq.learning.returns import fold_window
from jaxq.legal import legal_actions, uniform
from jaxq.types import ObservationLegalActions, Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

LIMIT, STEPS, ENVS = 9, 24, 2  # every episode is cut, some twice


@pytest.fixture(autouse=True)
def right_worlds(request):
    """Skips Craftax where this JAX would make wrong worlds, see ``envs.craftax``."""
    values = getattr(request.node, "callspec", None)
    if values and any(str(value).startswith("craftax/") for value in values.params.values()):
        pytest.importorskip("craftax")
        try:
            make_env("craftax/Craftax-Classic-Symbolic-v1", 1)
        except ConfigError as error:
            pytest.skip(str(error))


def test_a_jax_that_mixes_worlds_is_refused(monkeypatch):
    """Trap: on a CPU jaxlib 0.10 gives from the ninth on other noise in a batch than alone."""
    pytest.importorskip("craftax")
    from jaxq.envs import craftax

    monkeypatch.setattr(craftax.jax, "vmap", lambda noise: lambda keys: jnp.ones((16, 64, 64)))
    with pytest.raises(ConfigError, match=r"worlds of a batch are mixed.* XLA_FLAGS"):
        craftax._check_worlds.__wrapped__()


class Seen(NamedTuple):
    """What a step of the library's own shows."""

    obs: Any
    state: Any
    reward: Any
    terminated: Any  # without the time limit


def of_craftax(name):
    """Without its own limit every ``done`` of Craftax is a termination."""
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params.replace(max_timesteps=10**6)
    as_shown = (
        (lambda obs: (obs * 255 + 0.5).astype(jnp.uint8)) if "Pixels" in name else (lambda x: x)
    )

    def step(key, state, action):
        obs, state, reward, done, _ = env.step(key, state, action, params)
        return Seen(as_shown(obs), state, reward, done)

    def reset(key):
        obs, state = env.reset(key, params)
        return as_shown(obs), state

    return reset, step, "max_timesteps"


def of_pgx(name):
    import pgx

    env = pgx.make(name)

    def shown(state):
        if name != "2048":
            return state.observation
        return ObservationLegalActions(state.observation, state.legal_action_mask)

    def reset(key):
        state = env.init(key)
        return shown(state), state

    def step(key, state, action):
        state = env.step(state, action, key)
        return Seen(shown(state), state, state.rewards.sum(), state.terminated)

    return reset, step, "max_steps_in_episode"


def of_octax(name):
    from octax.environments import create_environment

    env, _ = create_environment(name)

    def reset(key):
        state, obs, _ = env.reset(key)
        return jnp.moveaxis(jnp.swapaxes(obs, 1, 2), 0, -1), state

    def step(key, state, action):
        state, obs, reward, terminated, _, _ = env.step(state, action)
        return Seen(jnp.moveaxis(jnp.swapaxes(obs, 1, 2), 0, -1), state, reward, terminated)

    return reset, step, "max_steps_in_episode"


def of_xminigrid(name):
    import xminigrid

    env, params = xminigrid.make(name, max_steps=LIMIT)
    one_hot = jax.nn.one_hot

    def show(obs):
        parts = one_hot(obs[..., 0], 13, dtype=bool), one_hot(obs[..., 1], 12, dtype=bool)
        return jnp.concatenate(parts, axis=-1)

    def reset(key):
        timestep = env.reset(params, key)
        return show(timestep.observation), timestep

    def step(key, state, action):
        timestep = env.step(params, state, action)
        ends = timestep.last() & (timestep.discount == 0)
        return Seen(show(timestep.observation), timestep, timestep.reward, ends)

    return reset, step, "max_steps_in_episode"


NATIVE = {"craftax": of_craftax, "pgx": of_pgx, "octax": of_octax, "xminigrid": of_xminigrid}
FAST = ("pgx/minatar-breakout", "octax/pong", "xminigrid/MiniGrid-DoorKey-6x6")
_PGX = (
    "2048",
    *(f"minatar-{g}" for g in "asterix breakout freeway seaquest space_invaders".split()),
)
_OCTAX = (
    "airplane blinky brix cavern1 deep filter flight_runner missile pong rocket shooting_stars "
    "space_flight1 spacejam squash submarine tank target_shooter1 tetris ufo vertical_brix "
    "wipe_off worm"
).split()
_MINIGRID = (
    "BlockedUnlockPickUp DoorKey-6x6 Empty-5x5 EmptyRandom-6x6 FourRooms LockedRoom MemoryS8 "
    "Playground Unlock UnlockPickUp"
).split()
NAMES = (
    "craftax/Craftax-Classic-Symbolic-v1",
    "craftax/Craftax-Symbolic-v1",
    *(f"pgx/{name}" for name in _PGX),
    *(f"octax/{name}" for name in _OCTAX),
    *(f"xminigrid/MiniGrid-{name}" for name in _MINIGRID),
    "xminigrid/XLand-MiniGrid-R1-9x9",
)


def installed(name):
    for package in LIBRARIES[library_of(name)]:
        pytest.importorskip(package)


def by_hand(name, key, actions):
    """Steps of every environment in turn, reset by hand: arrays [T, E] by name."""
    reset, step, _ = NATIVE[library_of(name)](name.partition("/")[2])
    reset, step = jax.jit(reset), jax.jit(step)
    key_reset, *keys = key
    states = [list(reset(k)) for k in jax.random.split(key_reset, ENVS)]
    clocks, totals, rows = [0] * ENVS, [0.0] * ENVS, []
    for key, action in zip(keys, actions):
        row = []
        for e, key_env in enumerate(jax.random.split(key, ENVS)):
            key_step, key_next = jax.random.split(key_env)
            seen = step(key_step, states[e][1], action[e])
            reward, terminated = np.float32(seen.reward), bool(seen.terminated)
            clocks[e], totals[e] = clocks[e] + 1, totals[e] + reward
            done = terminated or clocks[e] >= LIMIT
            states[e] = list(reset(key_next)) if done else [seen.obs, seen.state]
            row.append(
                {
                    "obs": states[e][0],
                    "next_obs": seen.obs,
                    "reward": reward,
                    "terminated": terminated,
                    "done": done,
                    "length": clocks[e],
                    "total_reward": totals[e],
                }
            )
            if done:
                clocks[e], totals[e] = 0, 0.0
        rows.append(row)
    cells = [jax.tree.map(lambda *x: np.stack(x), *row) for row in rows]
    return jax.tree.map(lambda *x: np.stack(x), *cells)


def as_env(name, keys, actions, steps=LIMIT, policy=None):
    """The same steps of the ``Env``, in one scan."""
    env = make_env(name, ENVS, (), policy)
    limit = NATIVE[library_of(name)](name.partition("/")[2])[2]

    @jax.jit
    def play(limit_steps, keys):
        params = env.params({limit: limit_steps})
        _, state = env.reset(keys[0], params)

        def one(state, inputs):
            obs, state, outcome, episode = env.step(inputs[0], state, inputs[1], params)
            return state, {"obs": obs, **outcome._asdict(), **episode._asdict()}

        return jax.lax.scan(one, state, (keys[1:], actions))[1]

    return play(steps, keys)


@pytest.mark.filterwarnings("ignore:.*has no goal")
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_an_adapter_gives_what_the_library_gives_and_splits_its_limit(name):
    """Observations before and after resets, rewards, ends and statistics, under a forced limit."""
    installed(name)
    keys = jax.random.split(jax.random.key(1), STEPS + 1)
    num_actions = make_env(name, 1).num_actions
    actions = jax.random.randint(jax.random.key(2), (STEPS, ENVS), 0, num_actions)
    expected, found = by_hand(name, keys, actions), as_env(name, keys, actions)
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    for what, value in expected.items():
        jax.tree.map(partial(close, err_msg=what), found[what], value)
    assert np.all(found["ended"] == found["done"])
    cut = found["done"] & ~found["terminated"]
    assert cut.any() or name == "pgx/2048", "the forced limit cut nothing"
    assert np.all(found["length"][cut] == LIMIT)


@pytest.mark.filterwarnings("ignore:.*has no goal")
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_what_is_carried_through_a_vmapped_scan_keeps_its_form(name):
    installed(name)
    env = make_env(name, ENVS)
    params = env.params({})
    actions = jnp.zeros((3, ENVS), jnp.int32)

    def member(key):
        obs, state = env.reset(key, params)

        def one(loop, action):
            obs, state, outcome, episode = env.step(key, loop[1], action, params)
            return (obs, state), (outcome, episode)

        return jax.lax.scan(one, (obs, state), actions)

    (obs, state), (outcome, _) = jax.eval_shape(
        jax.vmap(member), jax.random.split(jax.random.key(0), 5)
    )
    expected = [((5, ENVS, *spec.shape), spec.dtype) for spec in jax.tree.leaves(env.obs_spec)]
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(obs)] == expected
    assert outcome.reward.dtype == jnp.float32 and outcome.done.dtype == jnp.bool_
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((obs, state, outcome)))


def test_limits_are_the_libraries_own_unless_others_are_given():
    """Trap: every other test here forces one; without its own a MiniGrid pays another reward."""
    installed("octax/pong")
    assert make_env("octax/pong", 1).params({}).max_steps_in_episode == 4_500
    xminigrid = pytest.importorskip("xminigrid")
    _, static = xminigrid.make("MiniGrid-DoorKey-6x6")
    given = make_env("xminigrid/MiniGrid-DoorKey-6x6", 1).params({})
    assert given.max_steps_in_episode == static.max_steps > 0


@pytest.mark.parametrize("policy", ["bootstrap", "terminal"])
@pytest.mark.parametrize(
    "name", [*FAST, pytest.param("craftax/Craftax-Classic-Symbolic-v1", marks=pytest.mark.slow)]
)
def test_a_forced_limit_bootstraps_unless_it_belongs_to_the_task(name, policy):
    """A reward of 1 on every step and no end but a limit of T = 4: the fixed point of one value for
    all states is 1 / (1 - gamma) = 100, or 1 / (1 - gamma (1 - 1 / T)) where the limit ends it."""
    installed(name)
    keys, limit = jax.random.split(jax.random.key(3), STEPS + 1), 4
    seen = as_env(name, keys, jnp.zeros((STEPS, ENVS), jnp.int32), limit, policy)
    fields = {k: v[:, None] for k, v in seen.items() if k in Step._fields}  # windows of one step
    steps = Step(**fields, action=jnp.zeros((STEPS, 1, ENVS), jnp.int32))
    folded = jax.vmap(jax.vmap(fold_window, (1, None)), (0, None))(steps, 0.99)
    value = 1 / (1 - folded.discount.mean())
    ends = 1 - (policy == "terminal") / limit
    np.testing.assert_allclose(value, 1 / (1 - 0.99 * ends), rtol=1e-3)


@pytest.mark.slow
def test_random_games_of_2048_take_legal_moves_only():
    """A move that would change nothing is illegal; pgx would end the game there, with -1."""
    installed("pgx/2048")
    env = make_env("pgx/2048", 8)
    assert env.protocol["illegal_actions"] == "never taken"

    @jax.jit
    def play(key):
        obs, state = env.reset(key, env.params({}))

        def one(loop, key):
            obs, state = loop
            action = uniform(key, 8, 4, legal_actions(obs))
            obs, state, outcome, episode = env.step(key, state, action, env.params({}))
            return (obs, state), (obs.legal, outcome, episode)

        return jax.lax.scan(one, (obs, state), jax.random.split(key, 600))[1]

    legal, outcome, episode = play(jax.random.key(0))
    assert outcome.reward.min() >= 0 and episode.ended.sum() > 10
    assert 0.5 < legal.mean() < 0.98  # else nothing was masked
    assert not np.any(outcome.done & ~outcome.terminated)


@pytest.mark.parametrize("wall", ["whole", "gone"])
def test_breakout_is_the_same_game_in_pgx_and_gymnax(wall):
    """Without sticky actions chance is only where the ball begins: frames, rewards and ends of
    games that are played well for most of the time, step for step; also where a new wall comes."""
    installed("pgx/minatar-breakout")
    rules = "use_minimal_action_set=False", "sticky_action_prob=0.0"
    ours = raw_of("Breakout-MinAtar", rules[:1])[0]
    theirs = raw_of("pgx/minatar-breakout", rules)[0]

    def step(raw, game, key, action):
        obs, state, reward, ended, _ = raw.step(key, game[1], action, raw.params)
        return (obs.astype(bool), state), (obs.astype(bool), reward, ended)

    def play(key):
        key_ours, key_theirs, key = jax.random.split(key, 3)
        mine, state = ours.reset(key_ours, ours.params)
        begun = jax.vmap(lambda key: theirs.reset(key, theirs.params))(
            jax.random.split(key_theirs, 16)
        )
        same = jnp.argmax((begun[0] == mine.astype(bool)).all(axis=(1, 2, 3)))
        begun = jax.tree.map(lambda leaf: leaf[same], begun)
        if wall == "gone":
            state = state.replace(brick_map=jnp.zeros_like(state.brick_map))
            bricks = jnp.zeros_like(begun[1]._brick_map)
            begun = begun[0], begun[1].replace(_brick_map=bricks)
        games = (mine.astype(bool), state), begun

        def one(games, key):
            key_often, key_random = jax.random.split(key)
            ball, paddle = jnp.argmax(games[0][0][..., 1].any(0)), jnp.argmax(games[0][0][9, :, 0])
            good = jnp.select([ball < paddle, ball > paddle], [1, 3], 0)
            random = jax.random.randint(key_random, (), 0, 6)
            action = jnp.where(jax.random.uniform(key_often) < 0.1, random, good)
            after = [step(raw, game, key, action) for raw, game in zip((ours, theirs), games)]
            return tuple(game for game, _ in after), [seen for _, seen in after]

        return jax.lax.scan(one, games, jax.random.split(key, 60))[1]

    mine, its = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 16))
    going_on = np.cumsum(mine[2], axis=1) - mine[2] == 0  # [16, T], up to the end of an episode
    for a, b in zip(mine, its):
        np.testing.assert_array_equal(np.asarray(a)[going_on], np.asarray(b)[going_on])
    assert (
        np.asarray(mine[1])[going_on].sum() > 16 and mine[2].any()
    )  # a brick a game, and some ended


@pytest.mark.parametrize("library, packages", LIBRARIES.items())
def test_a_missing_library_is_one_sentence(library, packages, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        make_env(f"{library}/anything", 1)
    are = "is" if len(packages) == 1 else "are"
    assert str(caught.value) == (
        f"env={library}/... needs {' and '.join(packages)}, which {are} not installed; pip install "
        f"-e '.[{library}]', where jaxq's pyproject.toml lies, installs what is missing."
    )


def test_what_several_environments_need_is_said_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_installed(["CartPole-v1"])
    with pytest.raises(ConfigError, match=r"pgx and craftax, which are .*'\.\[pgx,craftax\]'"):
        check_installed(["pgx/2048", "craftax/Craftax-Symbolic-v1", "pgx/minatar-freeway", "A"])


def test_names_of_no_library_are_unknown_names_of_gymnax():
    assert (library_of("CartPole-v1"), library_of("mine:Env")) == ("gymnax", "gymnax")
    with pytest.raises(ConfigError, match="env=ALE/Pong-v5 does not exist"):
        make_env("ALE/Pong-v5", 1)


@pytest.mark.parametrize(
    "name, kwargs, message",
    [
        ("pgx/chess", (), "env=pgx/chess is played by several; a game for one player is accepted"),
        ("pgx/minatar-brekout", (), "did you mean pgx/minatar-breakout"),
        ("pgx/minatar-breakout", ("sticky=0",), "env_kwargs=.*sticky"),
        ("pgx/minatar-breakout", ("sticky_action_prob=abc",), "env_kwargs=.* by pgx/minatar-br"),
        ("pgx/minatar-breakout", ("use_minimal_action_set=maybe",), "env_kwargs=.* by pgx/minata"),
        ("pgx", (), "env=pgx does not exist; did you mean pgx/"),
        ("octax/pong", ("frame_skip=0",), "env_kwargs=.* is not accepted by octax/pong"),
        ("octax/pong", ("max_num_steps_per_episodes=-3",), "max_num_steps_per_episodes=-3; a who"),
        ("octax/pong", ("fps=0",), "env_kwargs=.* is not accepted by octax/pong"),
        ("octax/pingpong", (), "env=octax/pingpong does not exist"),
        ("xminigrid/MiniGrid-DoorKey-7x7", (), "did you mean xminigrid/MiniGrid-DoorKey"),
        ("xminigrid/MiniGrid-Empty-5x5", ("view=5",), "env_kwargs=.*view"),
        ("xminigrid/MiniGrid-Empty-8x8", ("height=-3",), "env_kwargs=.*'height=-3'.* accepted"),
        ("xminigrid/XLand-MiniGrid-R1-9x9", ("ruleset=3",), "ruleset=3 .* benchmark=NAME beside"),
        ("xminigrid/XLand-MiniGrid-R1-9x9", ("benchmark=trivial",), "did you mean trivial-21k"),
        ("craftax/Craftax-v1", (), "did you mean craftax/Craftax-Pixels-v1"),
    ],
)
def test_what_a_library_does_not_have_is_one_sentence(name, kwargs, message):
    installed(name)
    with pytest.raises(ConfigError, match=message):
        make_env(name, 1, kwargs)
