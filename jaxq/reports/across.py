"""Methods on several environments: side by side in one table, and pooled where anchors allow it."""

from collections.abc import Sequence

from jaxq.reports import tables
from jaxq.reports.figures import drawn, picture
from jaxq.reports.pages import Notes, Section
from jaxq.reports.pooling import methods_of, pool
from jaxq.reports.sources import Lane
from jaxq.scoring import plots
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.scores import seed_words
from jaxq.scoring.stats import normalise


def side_by_side(lanes: Sequence[Lane]) -> list[Section]:
    """The final scores of methods on all environments under protocols of one kind."""
    kinds: dict[str, list[Lane]] = {}
    for lane in lanes:
        kinds.setdefault(words_across(lane), []).append(lane)
    found = []
    for words, group in kinds.items():
        rows = _rows(group)
        if any(len(places) > 1 for places in rows.values()):
            found.append(tables.side_by_side(rows, words))
    return [Section("Environments side by side", found)] if found else []


def _rows(lanes: Sequence[Lane]) -> dict[str, dict[str, Lane]]:
    """Label -> environment -> lane: a row for a method, or for each of its lanes where several are
    on one environment."""
    rows: dict[str, dict[str, Lane]] = {}
    for method in methods_of(lanes):
        places = {lane.protocol["environment"]: lane for lane in method.lanes}
        if len(places) == len(method.lanes):
            rows[method.label] = places
        else:
            rows |= {x.label: {x.protocol["environment"]: x} for x in method.lanes}
    return rows


def pooled(lanes: Sequence[Lane]) -> list[Section]:
    """Methods that were trained on several environments of a protocol with anchors."""
    found: dict[tuple[str, str], list[Lane]] = {}
    for lane in lanes:
        if pair := tables.anchor_of(lane):
            found.setdefault((pair[1], words_across(lane)), []).append(lane)
    sections = []
    pairs = {tables.anchor_of(lane) for group in found.values() for lane in group}
    for (protocol, words), group in found.items():
        if sum(pair[1] == protocol for pair in pairs) == 1:
            continue  # nothing to pool with
        methods, left_out = pool(group, tables.anchor_of)
        blocks = [Notes(left_out)] if left_out else []
        title = f"Across environments, {protocol} protocol"
        once = {
            label: normalise({pair: lane.scores for pair, lane in by_pair.items()})
            for label, by_pair in methods.items()
        }
        if not once:
            blocks.append(Notes([f"Protocol: {words}."]))
            sections.append(Section(title, blocks))
            continue
        counts = [len(values) for scores in once.values() for values in scores.values()]
        ending = f"{seed_words(counts)} an environment. {tables.INTERVAL}. Protocol: {words}."
        blocks.append(tables.across(once, protocol, ending))
        blocks.append(
            picture(
                "Performance profiles",
                f"The share of seeds whose normalised score is above each value, averaged over "
                f"environments, with its interval. {ending}",
                lambda file, once=once: plots.draw_profiles(
                    file, {drawn(k): v for k, v in once.items()}, "", "normalised score"
                ),
            )
        )
        if len(once) > 1 and len({frozenset(scores) for scores in once.values()}) == 1:
            blocks.append(tables.improvement(once, ending))
        sections.append(Section(title, blocks))
    unknown = [lane.label for lane in lanes if not tables.anchor_of(lane)]
    if sections and unknown:
        words = "not pooled, because no anchors of the environment as it was are known"
        sections[-1].blocks.append(
            Notes([f"{', '.join(unknown[: tables.MOST_PRINTED])}: {words}."])
        )
    return sections


def words_across(lane: Lane) -> str:
    """The part of a lane's protocol that other environments can have, too."""
    rest = {k: v for k, v in lane.protocol.items() if k not in ("environment", "num_actions")}
    if lane.fields["time_limit"] == "default":  # which is terminal in Freeway alone
        rest["time_limit"] = "every environment has its own policy for"
    return protocol_words(rest)
