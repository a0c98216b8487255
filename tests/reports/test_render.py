"""Moving pictures: of one's own environments, of gymnax's, and of those nobody can draw."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import StickyActionWrapper
from matplotlib import pyplot
from PIL import Image

from jaxq.config import HParams
from jaxq.envs import gymnax as envs
from jaxq.envs.gymnax import from_gymnax
from jaxq.errors import ConfigError
from jaxq.reports.render import save_gif

pytestmark = pytest.mark.usefixtures("compiled_quickly")

RIGHT = SimpleNamespace(  # always takes action 1
    act_greedy=lambda params, carry, obs: (jnp.ones(1, jnp.int32), None, carry),
    initial_carry=lambda key, num_envs: (),
)


@struct.dataclass
class State(environment.EnvState):
    place: jax.Array


@struct.dataclass
class Params(environment.EnvParams):
    shade: float = 100.0
    max_steps_in_episode: int = 20


class Corridor(environment.Environment):
    """Five places; reaching the last pays 1 and ends the episode."""

    name = "Corridor"

    @property
    def default_params(self):
        return Params()

    def step_env(self, key, state, action, params):
        place = jnp.clip(state.place + 2 * action - 1, 0, 4)
        end = place == 4
        return place, State(state.time + 1, place), end.astype(jnp.float32), end, {}

    def reset_env(self, key, params):
        return jnp.int32(0), State(0, jnp.int32(0))

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Discrete(5)


class Pixels(Corridor):
    def render(self, state, params):
        picture = np.zeros((8, 40, 3), np.uint8)
        picture[:, 8 * state.place : 8 * state.place + 8] = params.shade
        return picture


class Figures(Corridor):
    def render(self, state, params):
        figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
        axes.plot([0, 4], [0, 0])
        axes.plot(state.place, 0, "o", color=(0.0, 0.0, params.shade / 255.0))
        return figure, axes


def save(path, raw, max_steps=30, **numbers):
    env = from_gymnax(raw, raw.default_params, 1, name=raw.name)
    hparams = HParams(env_params=numbers)
    return save_gif(path, raw, env, RIGHT, (), hparams, jax.random.key(0), max_steps)


def frames(path):
    """[N, height, width, 3]"""
    with Image.open(path) as image:
        return np.stack(
            [
                image.seek(index) or np.asarray(image.convert("RGB"))
                for index in range(image.n_frames)
            ]
        )


@pytest.mark.parametrize("wrap", [lambda raw: raw, lambda raw: StickyActionWrapper(raw, 0.0)])
def test_an_environment_of_ones_own_draws_arrays(wrap, tmp_path):
    """One frame for the state before each of the four steps, with the lane's own parameters."""
    assert save(tmp_path / "a.gif", wrap(Pixels()), shade=200.0) == 1.0
    shown = frames(tmp_path / "a.gif")
    assert shown.shape == (4, 8, 40, 3) and [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    lit = shown[:, 0, ::8, 0]  # [frame, place]
    np.testing.assert_array_equal(lit, 200 * np.eye(4, 5))


def test_an_environment_of_ones_own_draws_figures_and_they_are_closed(tmp_path):
    assert save(tmp_path / "a.gif", Figures(), max_steps=3) == 0.0
    shown = frames(tmp_path / "a.gif")
    assert shown.shape == (3, 50, 100, 3) and not pyplot.get_fignums()
    assert len({frame.tobytes() for frame in shown}) == 3


def test_what_gymnax_draws_is_drawn_by_it(tmp_path):
    pytest.importorskip("pygame")
    raw, _ = envs.make_gymnax("Breakout-MinAtar-original")
    save(tmp_path / "a.gif", raw, max_steps=2)
    assert len(frames(tmp_path / "a.gif")) == 2


@pytest.mark.parametrize("make", [Corridor, lambda: envs.make_gymnax("FrozenLake-misc")[0]])
def test_what_nobody_can_draw_is_refused_with_what_would_help(make, tmp_path):
    with pytest.raises(
        ConfigError, match=r"cannot be drawn.*a method render\(state, params\) that"
    ):
        save(tmp_path / "a.gif", make())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((4, 4, 3)), r"returns float64 \[4, 4, 3\]; an RGB array"),
        (np.zeros((4, 4), np.uint8), r"returns uint8 \[4, 4\]; an RGB array"),
        (None, r"returns NoneType \[\]; an RGB array"),
    ],
)
def test_what_is_no_picture_is_refused(picture, words, tmp_path, monkeypatch):
    monkeypatch.setattr(Pixels, "render", lambda self, state, params: picture)
    with pytest.raises(ConfigError, match=words):
        save(tmp_path / "a.gif", Pixels())


@pytest.mark.parametrize(
    ("render", "words"),
    [
        (lambda self, state: None, r"render of env=\S+ takes \(state\), but it is called with"),
        (lambda self, state, params: 1 / 0, r"render of env=\S+ raised ZeroDivisionError"),
    ],
)
def test_a_render_that_cannot_be_called_is_named(render, words, tmp_path, monkeypatch):
    """Trap: a traceback behind an evaluation that stands."""
    monkeypatch.setattr(Pixels, "render", render)
    with pytest.raises(ConfigError, match=words):
        save(tmp_path / "a.gif", Pixels())


def test_frames_of_several_sizes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Pixels, "render", lambda self, state, params: np.zeros((4, 4 + state.place, 3), np.uint8)
    )
    with pytest.raises(ConfigError, match=r"shapes \(4, 4, 3\) and \(4, 5, 3\)"):
        save(tmp_path / "a.gif", Pixels())
