"""A method of one's own, complete in one file: own_method.py [--out DIR] [--steps N].

Gap-increasing Q-learning, or advantage learning (Bellemare et al. 2016, equation 9), with a
number, a metric, a network, an environment and a figure of its own. The package knows nothing of
it; every script takes its parts by name:

    OWN="--env own_method:Corridor --agent own_method:make_agent --backup own_method:gap_increasing"
    python experiments/train.py dqn-cartpole $OWN --extra alpha 0.5
    python experiments/sweep.py dqn-cartpole $OWN --grid extra.alpha=0,0.5,0.9

Run by itself it trains three lanes of ``alpha`` and draws how far the two best actions lie apart.
"""

import dataclasses
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import struct

import jaxq

jaxq.use_machine()  # every core is a device, if said before gymnax: importing it uses JAX

from gymnax.environments import environment, spaces  # noqa: E402

# A backup: how the state after a step is valued, for one example.


@jaxq.declares(alpha=(0.0, 1.0))
def gap_increasing(values, a_tm1, hparams):
    """The greedy backup less alpha (max_a Q(s, a) - Q(s, a_tm1)) (Bellemare et al. 2016)."""
    greedy = jaxq.backups.greedy(values, a_tm1, hparams)
    gap = jnp.max(values.target_tm1) - values.target_tm1[a_tm1]
    return greedy._replace(bonus=-hparams.extra["alpha"] * gap)


# A loss: DQN's, with one more metric. What is in ``aux`` comes into metrics.npz, a mean per chunk.
# It says which parts of a backup it honours; of one that sets more it would learn only a part.


@jaxq.backups.honours("policy", "entropy", "bonus")
def loss(network, params, target_params, key, steps, hparams, backup):
    output = jaxq.losses.q_loss(network, params, target_params, key, steps, hparams, backup)
    q_values = network.apply(params, steps.obs[:, 0], None, ())[0].q_values  # [B, A]
    best = jnp.sort(q_values, axis=1)
    return output._replace(aux={**output.aux, "action_gap": best[:, -1] - best[:, -2]})


# A network: any flax module whose output has ``q_values``.


class ResidualNetwork(nn.Module):
    """Layers that add to what came before them."""

    num_actions: int
    depth: int
    width: int = 32

    @nn.compact
    def __call__(self, obs):  # [B, *obs]
        x = nn.Dense(self.width)(obs.reshape(len(obs), -1).astype(jnp.float32))
        for _ in range(self.depth):
            x += nn.Dense(self.width)(nn.relu(nn.LayerNorm()(x)))
        return jaxq.networks.QOutput(nn.Dense(self.num_actions)(x))


# An agent: these three, and for the rest what the configuration says.


def make_agent(config, env):
    depth = jaxq.words_as_values(config.extra).get("depth", 2)
    network = jaxq.networks.from_flax(ResidualNetwork(env.num_actions, depth))
    return jaxq.make_agent_from(config, env, network=network, loss=loss)


# An environment: a class of gymnax 1.0; the limit of steps is told apart from the end of the task.


@struct.dataclass
class State(environment.EnvState):
    position: jax.Array
    time: jax.Array


@struct.dataclass
class Params(environment.EnvParams):
    slip: float = 0.1
    max_steps_in_episode: int = 100


class Corridor(environment.Environment):
    """Left or right to the far end, on ice: a step slips back with probability ``slip``."""

    def __init__(self, length: int = 8):
        self.length = length

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        state = State(position=jnp.int32(0), time=jnp.int32(0))
        return state.position, state

    def step_env(self, key, state, action, params):
        slips = jax.random.bernoulli(key, params.slip)
        move = jnp.where(slips, -1, 2 * action - 1)
        position = jnp.clip(state.position + move, 0, self.length - 1).astype(jnp.int32)
        state = State(position=position, time=state.time + 1)
        terminated = position == self.length - 1
        return position, state, jnp.float32(terminated), terminated, {}

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Discrete(self.length)  # categories: shown to the network one-hot

    def render(self, state, params):
        """A picture [height, width, 3] for ``evaluate.py``."""
        cells = np.full((1, self.length, 3), 235, np.uint8)
        cells[0, -1] = (46, 139, 87)
        cells[0, int(state.position)] = (42, 111, 187)
        return cells.repeat(24, axis=0).repeat(24, axis=1)


# The experiment: lanes of ``alpha``, seeds, and a figure.


@dataclasses.dataclass(frozen=True)
class Arguments:
    out: Path = Path("runs/own-method")
    """Run directory, new or empty."""
    steps: int = 40_000
    """Environment steps per seed."""
    seeds: int = 4
    """Seeds of every lane."""


def main() -> None:
    args = tyro.cli(Arguments, description=__doc__)
    preset = jaxq.PRESETS["dqn-cartpole"]
    config = replace(
        preset.config,
        env="own_method:Corridor",
        agent="own_method:make_agent",
        backup="own_method:gap_increasing",
        extra=("depth=2",),
        prefill=1_000,
        chunk_steps=2_000,
    )
    numbers = preset.hparams._replace(gamma=0.97, epsilon_steps=10_000.0)
    lanes = [numbers._replace(extra={"alpha": alpha}) for alpha in (0.0, 0.5, 0.9)]
    jaxq.run(jaxq.RunSpec("own-method", config, lanes, range(args.seeds), args.steps), args.out)
    draw(args.out, [lane.extra["alpha"] for lane in lanes])


def draw(out: Path, alphas: list[float]) -> None:
    """The action gap while learning, of every lane."""
    from matplotlib.figure import Figure

    arrays = jaxq.read_run(out).arrays
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for index, alpha in enumerate(alphas):
        gaps = arrays["action_gap"][index]  # [S, T]
        jaxq.plots.draw_band(axes, arrays["steps"], gaps, f"alpha {alpha:g}", index, True)
    axes.set(xlabel="environment steps per seed", ylabel="gap between the two best actions")
    axes.legend(frameon=False)
    figure.savefig(out / "action_gap.png", dpi=150)
    print(f"Figure: {out / 'action_gap.png'}")


if __name__ == "__main__":
    main()
