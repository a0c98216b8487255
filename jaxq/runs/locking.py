"""One process at a time writes into a directory."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two runs are not kept apart
    fcntl = None

from jaxq.errors import ConfigError
from jaxq.runs.files import LOCK, writing


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Keep other processes from writing into a run directory, which is made if there is none.

    Raises:
      ConfigError: another process is writing into it, or it cannot be made.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    busy = (
        f"run={directory} is being written by another process; wait for it, or choose another "
        f"directory."
    )
    with hold(directory, busy):
        yield


@contextmanager
def hold(path: Path, busy: str) -> Iterator[None]:
    """Hold a file or a directory while nobody else does; a killed process lets go of it.

    NFS locks only what is open for writing, as no directory can be; there a file inside is held.

    Args:
      busy: the sentence for somebody who finds it held.

    Raises:
      ConfigError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    places = [(path, os.O_RDWR)]
    if path.is_dir():
        places = [(path, os.O_RDONLY), (path / LOCK, os.O_RDWR | os.O_CREAT)]
    handles, refusal = [], None
    try:
        for place, mode in places:
            handles.append(os.open(place, mode))
            try:
                fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                raise ConfigError(busy) from None
            except OSError as error:  # some file systems of clusters have no locks
                refusal = error.strerror
        else:
            warnings.warn(f"{path} cannot be locked: {refusal}.", stacklevel=5)
        yield
    finally:
        for handle in handles:
            os.close(handle)
