"""The rows of what is added to the loss, and of what starts anew from time to time."""

from jaxq.config import Config, HParams
from jaxq.learning import plasticity, regularisers
from jaxq.recipes.rows import AGENTS, Row


def _without_memory(config: Config, hparams: HParams) -> str | None:
    if config.memory != "none":
        return (
            f"regulariser={config.regulariser} looks at values of single states, which a network "
            f"with memory={config.memory} does not have; l2-init or none is accepted"
        )
    return None


def _learns_values(config: Config, hparams: HParams) -> str | None:
    if AGENTS.get(config.agent, Row(None)).loop == "offline":
        return (
            f"regulariser={config.regulariser} is the loss of agent={config.agent} once more; "
            f"l2-init or none is accepted"
        )
    return _without_memory(config, hparams)


def _single_states(config: Config, hparams: HParams) -> str | None:
    if wrong := _without_memory(config, hparams):
        return wrong
    if config.target.startswith("shift-"):
        return (
            f"regulariser={config.regulariser} compares values with those before an update, which "
            f"target={config.target} shifts; l2-init or none is accepted"
        )
    if config.replay == "latest" and not config.dataset:
        return (
            f"regulariser={config.regulariser} looks at states that are not learned from, and "
            f"replay=latest holds no others; replay=uniform or prioritized is accepted"
        )
    return None


REGULARISERS = {
    "none": Row(lambda config: regularisers.NONE),
    "l2-init": Row(lambda config: regularisers.l2_init(), ("l2_init_weight",)),
    "cql": Row(lambda config: regularisers.conservative(), ("cql_weight",), _learns_values),
    "chain": Row(lambda config: regularisers.chain(), ("churn_weight",), _single_states),
    "chain-auto": Row(
        lambda config: regularisers.chain_auto(), ("churn_weight", "churn_share"), _single_states
    ),
}


def _recyclable(config: Config, hparams: HParams) -> str | None:
    agent = AGENTS.get(config.agent, Row(None))
    if config.network == "linear":
        return f"network={config.network} has no hidden units for reset=redo to recycle"
    several = not {"ensemble_size", "intrinsic_gamma"}.isdisjoint(agent.reads)
    if agent.loop == "on-policy" or several or config.memory != "none":
        return (
            f"reset=redo recycles units of one network without memory, found on a batch of a "
            f"replay, which agent={config.agent} has not; head or shrink-and-perturb is accepted"
        )
    return None


RESETS = {
    "head": Row(plasticity.head),
    "shrink-and-perturb": Row(plasticity.shrink_and_perturb, ("shrink", "perturb")),
    "redo": Row(plasticity.redo, ("dormant_threshold",), _recyclable),
}
