"""How fast jaxq is: beside other libraries on the same work, and beside its own ceiling.

    benchmark.py [WORKLOAD ...] [--members 1 8 32] [--purejaxrl DIR] [--purejaxql DIR]
                 [--gtd-algos DIR] [--streaming-drl DIR] [--peer-python PYTHON] [--out DIR]

Every program is a process of its own. All are compiled first, one at a time; then they run in
turns, A B C A B C, so that a busy minute of the machine meets all of them. Figures are medians of
environment steps per second over all members, with the smallest and the largest.

The ceiling adds up learning, acting and the environment, each alone in a scan. Peers are found in
the Python given by --peer-python (they need older libraries than jaxq) and, where they are not
packages, in the directories given; what is not there is left out.
"""

import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro
from rich.console import Console
from workloads import WORKLOADS, Workload, workload_of

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.errors import ConfigError
from jaxq.runs import files as results
from jaxq.runs import machine, provenance
from jaxq.scoring import plots

HERE = Path(__file__).resolve().parent
PARTS = ("learning", "acting", "environment")
START = "start"
PEERS = ("purejaxrl", "purejaxql", "gtd_algos", "streaming_drl")  # that are not packages
ONE_SEED = ("stable_baselines3", "gtd_algos", "streaming_drl")  # a process each


@dataclasses.dataclass(frozen=True)
class Arguments:
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Workloads, presets, or paths of a run's config.json; all workloads by default."""
    members: tuple[int, ...] = (1, 8, 32)
    """Numbers of members."""
    cores: int = machine.num_cores()
    """CPU cores that every program may use."""
    turns: int = 5
    """How often each program runs."""
    batch: int | None = None
    """Members that jaxq vmaps together; chosen by default."""
    ceiling: bool = True
    """Measure the parts of jaxq alone, too."""
    purejaxrl: Path | None = None
    """Directory of a checkout."""
    purejaxql: Path | None = None
    """Directory of a checkout."""
    gtd_algos: Path | None = None
    """Directory of a checkout."""
    streaming_drl: Path | None = None
    """Directory of a checkout."""
    trust: tuple[str, ...] = ()
    """Functions of your own, module:function, that such a file may name."""
    peer_python: Path = Path(sys.executable)
    """The Python in which the peers' dependencies, rejax, jaxnasium[algs,gymnax] and
    stable-baselines3 are installed."""
    out: Path | None = None
    """Directory of the table, the figure and the numbers; runs/benchmark-TIME by default."""


class Process:
    """A contender, compiled and waiting.

    Raises:
      RuntimeError: it could not be prepared or run, with the end of what it said.
    """

    def __init__(self, python: Path, name: str, workload: dict, cache: str = ""):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(workload, file)
            file.flush()
            self.process = subprocess.Popen(
                [str(python), str(HERE / "contenders.py"), name, file.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env={
                    **os.environ,
                    "JAX_COMPILATION_CACHE_DIR": cache,
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
                    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                },
            )
            ready = self._answer()
            self.prepared_seconds, self.versions = ready["prepared_seconds"], ready["versions"]

    def run(self) -> dict:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, but a reason
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError("".join(self.errors.readlines()[-1:]).strip() or "it was killed")
        return json.loads(line)


def benchmark(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="benchmark.py", description=__doc__)
    names = args.names or (*WORKLOADS, START)
    workloads = {name: workload_of(name) for name in names if name != START}
    for field in ("members", "turns", "cores"):
        value = getattr(args, field)
        if min(value if field == "members" else (value,)) < 1:
            raise ConfigError(f"{field}={value} must be whole numbers of at least 1.")
    if args.cores > machine.num_cores():
        raise ConfigError(f"cores={args.cores} must be at most {machine.num_cores()}.")
    out = args.out or tasks.new_directory("benchmark")
    if (out / "benchmark.json").exists():
        raise ConfigError(f"out={out} holds another benchmark; choose another directory.")
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "provenance": provenance.describe(),
        "cores": args.cores,
        "records": [],
        "start": [],
    }
    for name in names:
        if name == START:
            document["start"] = measure_start(args, console)
        for members in args.members if name != START else ():
            document["records"] += measure(workloads[name], members, args, console)
        results.write_json(out / "benchmark.json", document)
        results.write_text(out / "benchmark.md", markdown(document))
    shown = [record for record in document["records"] if record["program"] not in PARTS]
    if shown:
        plots.draw_throughput(out / "benchmark.png", shown)
    tasks.say(console, f"Results: {out}")


def measure(work: Workload, members: int, args: Arguments, console: Console) -> list[dict]:
    """One record per program, after ``turns`` turns of all."""
    console.print(f"[bold]{work.title}[/], members {members}")
    processes: dict[str, Process] = {}
    try:
        for label, python, contender, workload in contenders(work, members, args):
            try:
                processes[label] = Process(python, contender, workload)
            except RuntimeError as error:
                console.print(f"  {label} is left out: {error}", markup=False)
        answers = {label: [] for label in processes}
        for _ in range(args.turns):
            for label, process in list(processes.items()):
                try:
                    answers[label].append(process.run())
                except RuntimeError as error:
                    console.print(f"  {label} is left out: {error}", markup=False)
                    processes.pop(label).close()
                    del answers[label]
    finally:
        for process in processes.values():
            process.close()
    records = [
        {
            "workload": work.preset,
            "title": work.title,
            "members": members,
            "program": label,
            "steps_per_second": [run["steps"] / run["seconds"] for run in runs],
            "prepared_seconds": processes[label].prepared_seconds,
            "peak_mb": runs[-1]["peak_mb"],
            "versions": processes[label].versions,
        }
        for label, runs in answers.items()
    ]
    records = _with_ceiling(records)
    for record in records:
        console.print(f"  {record['program']:12} {_median_and_range(record['steps_per_second'])}")
    return records


def measure_start(args: Arguments, console: Console) -> list[dict]:
    """Seconds from the start of a process until 10,000 steps of CartPole DQN are done."""
    console.print("[bold]Start[/]: a process until its first 10,000 steps are done, seconds")
    seconds: dict[str, list[float]] = {}
    for _ in range(args.turns):
        with tempfile.TemporaryDirectory() as cache:
            for label, python, contender, workload in contenders(
                WORKLOADS["cartpole-dqn"], 1, args
            ):
                if label not in ("jaxq", "purejaxrl"):
                    continue
                if label == "jaxq":  # learns as early as its peer
                    numbers = {**workload["config"], "prefill": 130, "chunk_steps": 10_000}
                    workload = {**workload, "config": numbers}
                workload = {**workload, "steps": 10_000, "short_steps": 0}
                for state in ("cold", "warm"):
                    with contextlib.suppress(RuntimeError):
                        taken = _seconds_to_first_run(python, contender, workload, cache)
                        seconds.setdefault(f"{label}, {state}", []).append(taken)
    for program, taken in seconds.items():
        console.print(f"  {program:16} {_median_and_range(taken, 1)}")
    return [{"program": program, "seconds": taken} for program, taken in seconds.items()]


def _seconds_to_first_run(python: Path, contender: str, workload: dict, cache: str) -> float:
    started = time.perf_counter()
    process = Process(python, contender, workload, cache)
    try:
        process.run()
    finally:
        process.close()
    return time.perf_counter() - started


def contenders(workload: Workload, members: int, args: Arguments):
    """``(label, python, contender, workload)`` of everything that is there and can do the work."""
    common = {"members": members, "cores": args.cores, "network": workload.network}
    ours = {
        **common,
        "preset": workload.preset,
        "config": {**workload.config, "chunk_steps": workload.chunk_steps},
        "batch": args.batch,
        "trust": args.trust,
    }
    yield "jaxq", sys.executable, "jaxq", ours
    for part in PARTS if args.ceiling else ():
        yield part, sys.executable, "jaxq", {**ours, "part": part}
    paths = {name: getattr(args, name) for name in PEERS}
    for peer, numbers in workload.peers.items():
        if (peer in paths and paths[peer] is None) or (peer in ONE_SEED and members > 1):
            continue
        rounds = -(-workload.peer_steps // (members * workload.peer_round))
        theirs = {
            **common,
            "arguments": numbers,
            "path": str(paths.get(peer)),
            "short_steps": workload.peer_round,
            "steps": (rounds + 1) * workload.peer_round,
        }
        yield peer, args.peer_python, peer, theirs


def _with_ceiling(records: list[dict]) -> list[dict]:
    """The parts as one record more: a step of all takes the sum of their times."""
    parts = [record for record in records if record["program"] in PARTS]
    if len(parts) < len(PARTS):
        return records
    turns = zip(*(record["steps_per_second"] for record in parts))
    rates = [1.0 / sum(1.0 / rate for rate in turn) for turn in turns]
    ceiling = {**parts[0], "program": "ceiling", "steps_per_second": rates}
    return [*records, {**ceiling, "prepared_seconds": None, "peak_mb": None}]


def markdown(document: dict) -> str:
    """The table, with the machine and the versions it belongs to."""
    origin = document["provenance"]
    versions = ", ".join(f"{name} {value}" for name, value in origin["versions"].items())
    lines = [
        f"{document['cores']} cores of {origin['device']} ({origin['platform']}); {versions}; "
        f"commit {(origin['commit'] or 'unknown')[:12]}; medians (smallest to largest).",
        "",
        "| workload | members | program | steps/s | jaxq is | preparing, s | peak, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple, list[dict]] = {}
    for record in document["records"]:
        groups.setdefault((record["title"], record["members"]), []).append(record)
    for (title, members), records in groups.items():
        rates = {record["program"]: record["steps_per_second"] for record in records}
        ours = statistics.median(rates.get("jaxq", [math.nan]))
        for record in records:
            if record["program"] in PARTS:
                continue
            rates = record["steps_per_second"]
            lines.append(
                f"| {title} | {members} | {record['program']} | "
                f"{_median_and_range(rates)} | {ours / statistics.median(rates):.2f}x | "
                + " | ".join(
                    "" if record[field] is None else f"{record[field]:,.0f}"
                    for field in ("prepared_seconds", "peak_mb")
                )
                + " |"
            )
    programs = {record["program"]: record["versions"] for record in document["records"]}
    for program in sorted(programs.keys() - {"jaxq", "ceiling", *PARTS}):
        versions = ", ".join(f"{name} {value}" for name, value in programs[program].items())
        lines += ["", f"{program} with {versions}."]
    if document["start"]:
        lines += ["", "| process until 10,000 steps of CartPole are done | seconds |", "|---|---|"]
    for record in document["start"]:
        lines.append(f"| {record['program']} | {_median_and_range(record['seconds'], 1)} |")
    return "\n".join(lines) + "\n"


def _median_and_range(values: list[float], digits: int = 0) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


if __name__ == "__main__":
    cli.main(benchmark)
