"""What XLA makes of the loop: the traps that once cost a factor, each named, none of them timed."""

import re
from functools import cache

import jax
import pytest
from programs import lines_that_make, lower, most_often, operations_per_element

from jaxq.recipes.presets import PRESETS
from jaxq.replay import sumtree

# Operations in the body of the hot loop, as jax 0.10 and 0.11 compile it for a CPU. Of those for
# Breakout 27 are the nine shifted views of three convolutions, each of which is one on a GPU.
OPERATIONS = {"dqn-breakout": 284, "dqn-cartpole": 220}


@cache
def program(name: str, batch: int = 1, **changes):
    """The chunk of a preset for a batch of members, and the shapes of one member's state."""
    lowered, state = lower(name, batch, **changes)
    return lowered.compile(), state


PROGRAMS = pytest.mark.parametrize(
    ("name", "batch"),
    [("dqn-breakout", 1), pytest.param("dqn-cartpole", 4, marks=pytest.mark.slow)],
)


@PROGRAMS
def test_the_ring_is_updated_in_place(name, batch):
    """Traps: XLA fuses the write into the gather and copies the whole ring at every step, which
    the order sample -> learn -> collect -> write and one matrix of words prevent; and a batched
    clock turns the write into a scatter, so ours is common to all members."""
    compiled, state = program(name, batch)
    ring = state.replay.ring
    shape = (batch, *ring.shape) if batch > 1 else ring.shape
    made = lines_that_make(compiled, "u32[" + ",".join(map(str, shape)) + "]")
    assert made and not [line for line in made if " copy(" in line or " scatter(" in line]
    assert compiled.memory_analysis().alias_size_in_bytes >= 4 * batch * ring.size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"),
    [("prioritized-dqn-cartpole", 1), ("rainbow-cartpole", 2)],
)
def test_the_sum_tree_is_updated_in_place(name, batch):
    """Traps: an array that is written without waiting for its readers is copied whole, and one
    index is written as a slice, fused with what it reads; at a million leaves, 40 % of the time."""
    compiled, _ = program(name, batch)
    nodes = sumtree.make(PRESETS[name].config.capacity).size
    made = lines_that_make(compiled, f"f32[{nodes}]" if batch == 1 else f"f32[{batch},{nodes}]")
    assert made and not [line for line in made if " copy(" in line]


@pytest.mark.parametrize(
    "name",
    [
        "dqn-breakout",
        pytest.param("rainbow-breakout", marks=pytest.mark.slow),
        pytest.param("pqn-breakout", marks=pytest.mark.slow),
    ],
)
def test_weights_are_updated_in_place(name):
    """Trap: weights that the backward pass may read after their update are copied at every update;
    an optimization barrier is gone before XLA decides that."""
    compiled, state = program(name)
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    made = lines_that_make(compiled, "f32[" + ",".join(map(str, largest.shape)) + "]")
    assert made and not [line for line in made if " copy(" in line]


@pytest.mark.parametrize(
    "name",
    [
        "online-q-adam-cartpole",
        "stream-q-cartpole",
        pytest.param("qrc-cartpole", marks=pytest.mark.slow),
    ],
)
def test_a_stream_computes_its_error_once(name):
    """Trap: a TD error is cheap, so XLA computed it anew for each of 131,072 weights, and Adam took
    seventeen times as long; so it does the two vectors whose product is a gradient."""
    compiled, _ = program(name, widths=(256, 256), chunk_steps=100)
    assert operations_per_element(compiled.as_text(), 256 * 256) < 16  # Adam's own numbers


def test_noise_is_made_once():
    """Trap: of normal numbers the polynomial is cheap, so XLA evaluated it anew for every weight
    that a number multiplies; Rainbow took half as long again."""
    compiled, _ = program("noisy-dqn-cartpole")
    assert 0 < most_often(compiled.as_text(), "erf_inv") <= 2  # inputs' and outputs' are one array


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pqn-cartpole", "pqn-lstm-cartpole"])
def test_a_rollout_takes_one_pass_a_step(name):
    """Trap: the value of an observation is free only as long as XLA sees that acting computes the
    same. Three passes are left: acting, steps that a limit cut, and what follows the rollout."""
    compiled, state = program(name)
    made = lines_that_make(compiled, f"f32[{len(state.obs)},2]")
    assert len([line for line in made if " dot(" in line]) == 3


def test_a_member_is_its_ring_and_little_more():
    """Trap: one float32 record per field would be 321 MB for 100,000 steps of Breakout."""
    compiled, state = program("dqn-breakout")
    assert 4 * state.replay.ring.size + compiled.memory_analysis().temp_size_in_bytes <= 12.2e6


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_steps():
    """Trap: what a scan stacks for every iteration; ours sums, and stacks a few sums a period."""
    short, long = (program("dqn-cartpole", 4, chunk_steps=500 * n)[0] for n in (1, 100))
    grown = long.memory_analysis().temp_size_in_bytes - short.memory_analysis().temp_size_in_bytes
    assert grown <= 100 * 4 * 64  # bytes per period and member


@pytest.mark.parametrize("batch", [1, 2])
def test_no_convolution_in_the_program(batch):
    """Trap: a convolution under vmap is a grouped convolution, four times slower."""
    lowered, _ = lower("dqn-breakout", batch)
    assert "convolution" not in lowered.as_text()


def test_a_reset_is_a_branch_for_a_batch_too():
    """Trap: a condition that depends on a member becomes a select, and both branches run at every
    step; resets depend on the clock."""
    plain, resetting = (
        lower("dqn-cartpole", 4, **changes)[0].as_text()
        for changes in ({}, {"reset_period": 5_000})
    )
    assert "stablehlo.case" in resetting and "stablehlo.case" not in plain


@PROGRAMS
def test_operations_of_an_iteration(name, batch):
    """Trap: small operations, each of which is a kernel launch on an accelerator; most of them
    split keys, so random numbers are drawn in few calls."""
    text = program(name, batch)[0].as_text()
    bodies = re.split(r"\n(?=%?[\w.\-]+ \(|ENTRY)", text)
    kinds = "fusion|dot|while|copy|call|custom-call|scatter|sort|conditional|reduce"
    operation = re.compile(rf" = (?:\(.*?\)|\S+) (?:{kinds})\(")
    largest = max(
        sum(bool(operation.search(line)) for line in body.splitlines()) for body in bodies
    )
    assert 100 < largest <= OPERATIONS[name]
