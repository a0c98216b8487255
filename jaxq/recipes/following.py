"""The rows of what is kept as target network, and how it follows."""

from jaxq.config import Config, HParams
from jaxq.learning import targets
from jaxq.recipes.own import is_own
from jaxq.recipes.rows import Row

# Agents whose values form a chain -> what shifts it.
SHIFTS = {"is-dqn": "shift-heads", "i-dqn": "shift-networks"}


def _one_target(config: Config, hparams: HParams) -> str | None:
    if config.agent != "averaged" and not is_own(config.agent):
        return (
            f"target=stack keeps several networks, of which agent={config.agent} reads one; "
            f"agent=averaged is accepted, or target=polyak"
        )
    return None


def _a_chain(config: Config, hparams: HParams) -> str | None:
    (agent,) = [name for name, target in SHIFTS.items() if target == config.target]
    if config.agent != agent and not is_own(config.agent):
        return (
            f"target={config.target} shifts a chain, which agent={config.agent} has not; "
            f"agent={agent} is accepted, or target=polyak"
        )
    return None


def _whole_shifts(config: Config, hparams: HParams) -> str | None:
    if config.shift_period % config.target_period:
        return (
            f"shift_period={config.shift_period} must be a multiple of "
            f"target_period={config.target_period}"
        )
    return _a_chain(config, hparams)


TARGETS = {
    "polyak": Row(lambda config: targets.polyak(), ("tau",)),
    "stack": Row(
        lambda config: targets.stack(config.ensemble_size), ("ensemble_size",), _one_target
    ),
    "shift-heads": Row(lambda config: targets.shift_heads(), (), _a_chain),
    "shift-networks": Row(
        lambda config: targets.shift_networks(config.shift_period, config.target_period),
        ("shift_period",),
        _whole_shifts,
    ),
}
