"""Presets as XLA compiles them: for this machine, or for a GPU or TPU that need not be there."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import period_of
from jaxq.runs import described

# Each is one kernel, or more, on a GPU; what else stands in a program only names or groups arrays.
_KERNELS = (
    "fusion custom-call dot convolution copy transpose scatter sort reduce reduce-window "
    "dynamic-slice dynamic-update-slice rng-bit-generator cholesky"
).split()
_OPERATION = re.compile(r" = (?:\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:body|to_apply|\w+_computation)=%?([\w.\-]+)|branch_computations=\{(.*?)\}"
)


def lower(name: str, batch: int = 1, device: str | None = None, **changes):
    """The chunk of a preset for a batch of members, lowered with the state donated, and the
    shapes of one member's state.

    A chunk is one target period, or one rollout, unless ``changes`` to the preset say otherwise.
    """
    preset = PRESETS[name]
    config = replace(preset.config, **{"chunk_steps": period_of(preset.config), **changes})
    return described.lower(config, preset.hparams, batch, device)


def lines_that_make(compiled, type_of_array: str) -> list[str]:
    """The operations of a program that result in an array, written like ``f32[2,3]``."""
    return [line for line in compiled.as_text().splitlines() if f"= {type_of_array}" in line]


def launches(text: str) -> Counter[str]:
    """How often a compiled program runs each operation that is a kernel, and how often it waits
    for the device to say which way to go (``wait``).

    Loops count as often as they run; of a conditional's branches all count.
    """
    computations, entry = _computations(text)

    def count(name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for line in computations[name]:
            operation = _OPERATION.search(line)
            kind = operation and operation[1]
            if kind in _KERNELS:
                total[kind] += 1
            elif kind in ("while", "call", "conditional"):
                known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                total["wait"] += kind == "conditional" or (kind == "while" and not known)
                for called in _called(line):
                    for inner, times in count(called).items():
                        total[inner] += times * (int(known[1]) if known else 1)
        return total

    return count(entry)


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from [one] if one else several.replace("%", "").split(", ")


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation, and the name of the first to run."""
    computations, entry, lines = {}, "", []
    for line in text.splitlines():
        if begin := _COMPUTATION.match(line):
            lines = computations[begin[2]] = []
            entry = begin[2] if begin[1] else entry
        else:
            lines.append(line)
    return computations, entry


def operations_per_element(text: str, size: int) -> int:
    """The most operations on single numbers that a fused loop over ``size`` elements or more holds.

    XLA's CPU code may compute them anew for every element.
    """
    most = 0
    for lines, elements in _loops(text):
        if elements >= size:
            kinds = [_OPERATION.search(line)[1] for line in lines if _elements(line) == 1]
            free = ("parameter", "constant", "broadcast", "bitcast", "get-tuple-element")
            most = max(most, sum(kind not in free for kind in kinds))
    return most


def most_often(text: str, function: str) -> float:
    """How often a fused loop may compute each of the numbers that ``function``, as the program
    names it, gives; 0 of a program without it."""
    made = [
        elements / _elements(line)
        for lines, elements in _loops(text)
        for line in lines
        if f"/{function}" in line and _elements(line) > 1
    ]
    return max(made, default=0.0)


def _loops(text: str) -> Iterator[tuple[list[str], int]]:
    """The lines of every fused loop, and the number of elements that it makes."""
    for lines in _computations(text)[0].values():
        root = next((line for line in lines if "ROOT" in line), "")
        if any(" parameter(" in line for line in lines):
            yield lines, _elements(root)


def _elements(line: str) -> int:
    """Of the array that an operation makes; 0 of a tuple."""
    shape = re.search(r" = \w+\[([\d,]*)\]", line)
    return math.prod(int(size) for size in shape[1].split(",") if size) if shape else 0
