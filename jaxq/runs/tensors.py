"""Arrays in one file of the safetensors format, which holds no code.

https://huggingface.co/docs/safetensors/main/en/index#format. The package reads it; written it is
here, from the arrays themselves: without a copy of them in memory, in one pass, and so that what
the system refuses is an ``OSError``.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxq.runs.files import replacing

_TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "uint64": "U64",
    "int32": "I32",
    "uint32": "U32",
    "int16": "I16",
    "uint16": "U16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_tensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Replace ``path``.

    Raises:
      OSError: it could not be written; ``path`` is as it was.
    """
    # The widest first, so that all are aligned.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    header, end = {"__metadata__": dict(metadata or {})}, 0
    for name, array in arrays.items():
        place = [end, end := end + array.nbytes]
        kind = _TYPES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as partial, open(partial, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for array in arrays.values():
            file.write(bytes_of(array))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file.

    Raises:
      OSError, ValueError: it cannot be read, or is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file as read-only views of it: what is not used is not read.

    Raises:
      OSError, ValueError: it cannot be read, or is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # which looks at the header, and whether the file is as long as that says
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    buffer = np.memmap(path, np.uint8, mode="r")
    begin = 8 + int.from_bytes(buffer[:8].tobytes(), "little")
    header = json.loads(buffer[8:begin].tobytes())
    types, arrays = {kind: name for name, kind in _TYPES.items()}, {}
    for name, about in header.items():
        if name != "__metadata__":
            if about["dtype"] not in types:
                raise ValueError(f"{name} is of {about['dtype']}, which NumPy does not have")
            first, end = (begin + place for place in about["data_offsets"])
            arrays[name] = buffer[first:end].view(types[about["dtype"]]).reshape(about["shape"])
    return arrays


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order, copied only where they do not lie that way."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
