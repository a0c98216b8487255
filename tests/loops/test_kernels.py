"""What XLA makes of the loops for a GPU, compiled for an H100 that need not be there; and of the
replay for a TPU.

Small networks leave a GPU waiting for the next kernel, so the number of kernels is most of what a
step takes. Needs the extra `kernels`: XLA's compilers and NVIDIA's assembler, and no driver.
"""

from functools import cache

import jax
import pytest
from programs import launches, lines_that_make, lower

from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import loop_of, period_of
from jaxq.runs.described import compile_for

pytest.importorskip("jax_cuda13_plugin", reason="needs the extra `kernels`")
# What was compiled without a device can be kept, but not read back.
pytestmark = pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")

MEMBERS = 64
# Of one iteration: DQN's steps between two updates with the update, or one step of PQN's rollout
# with its share of the learning; all members and environments together.
KERNELS = {
    "dqn-breakout": 82,
    "dqn-cartpole": 64,
    "rainbow-breakout": 357,
    "pqn-breakout": 169,
    "pqn-lstm-cartpole": 942,
}
NAMES = pytest.mark.parametrize("name", KERNELS)


@cache
def program(name: str):
    lowered, state = lower(name, MEMBERS, "h100")
    return compile_for("h100", lowered), state


def iterations(name: str) -> int:
    """Of the program: one target period, or one rollout of vector steps."""
    config = PRESETS[name].config
    unit = config.num_envs if loop_of(config) == "on-policy" else config.train_every
    return period_of(config) // unit


@NAMES
def test_kernels_of_an_iteration(name):
    """Trap: small operations that XLA cannot fuse: keys that are split, sums that are kept."""
    counted = launches(program(name)[0].as_text())
    assert counted.total() / iterations(name) <= KERNELS[name], counted


@NAMES
def test_the_device_never_waits_for_the_host(name):
    """Trap: a condition, or a loop of unknown length, is decided by the host at every step."""
    assert launches(program(name)[0].as_text())["wait"] == 0


@NAMES
def test_no_copy_of_weights(name):
    """Trap: acting in a loop of its own asks for noisy weights turned; then every update writes
    them in both layouts and copies weights and moments, 18 arrays per update of Rainbow."""
    compiled, state = program(name)
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    shape = ",".join(map(str, (MEMBERS, *largest.shape)))
    made = lines_that_make(compiled, f"f32[{shape}]")
    assert made and not [line for line in made if " copy(" in line]


@pytest.mark.parametrize("name", ["dqn-breakout", "dqn-cartpole", "rainbow-breakout"])
def test_the_ring_is_updated_in_place(name):
    """Trap: a ring that is copied at every step."""
    compiled, state = program(name)
    ring = state.replay.ring
    shape = ",".join(map(str, (MEMBERS, *ring.shape)))
    made = lines_that_make(compiled, f"u32[{shape}]")
    assert made and not [line for line in made if " copy(" in line]
    assert compiled.memory_analysis().alias_size_in_bytes >= 4 * MEMBERS * ring.size


@pytest.mark.parametrize(
    "name, share",
    [
        ("dqn-breakout", 0.5),
        ("dqn-cartpole", 0.5),
        # Most is what an LSTM remembers of 24 steps.
        pytest.param("r2d2-cartpole", 0.65, marks=pytest.mark.slow),
        # And mean and noise of a layer's weights, added up: 34 MB.
        pytest.param("rainbow-breakout", 0.55, marks=pytest.mark.slow),
    ],
)
def test_a_tpu_writes_into_the_replay_in_place(name, share):
    """Trap: what vmap makes of one write is a scatter, for which a TPU lays out the whole ring anew
    at every write, and a sum tree as well; a ring that it must turn is copied at both ends of a
    chunk; and an axis of a few steps last takes 128 lanes of whatever is made of the records."""
    pytest.importorskip("libtpu", reason="needs the extra `kernels`")
    lowered, state = lower(name, MEMBERS, "v5e")
    compiled, replay = compile_for("v5e", lowered), state.replay
    for part in (replay.ring, getattr(replay, "tree", replay.ring)):
        kind = "u32" if part is replay.ring else "f32"
        shape = ",".join(map(str, (MEMBERS, *part.shape)))
        made = lines_that_make(compiled, f"{kind}[{shape}]")
        assert made and not [line for line in made if " copy(" in line and "S(1)" not in line]
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    assert temporaries <= share * 4 * MEMBERS * replay.ring.size
