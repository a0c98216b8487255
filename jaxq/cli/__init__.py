"""The command line that all scripts share: words to requests, errors to exit codes.

Nothing imports it but scripts. Read ``main`` first.

    words      whole numbers, switches and options as people type them
    arguments  fields of a configuration as options, in groups
    main       presets and options, from words to a request
    tasks      from a request to a finished run directory, with a report
"""

import os as _os
import signal as _signal
import sys as _sys
import threading as _threading


def _while_importing(kind, error, trace) -> None:
    """Ctrl-C while a script still imports what it needs, and what JAX refuses when it is."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nStopped at once.", file=_sys.stderr)
        return
    for name, value in _os.environ.items() if issubclass(kind, ValueError) else ():
        if name.startswith("JAX_") and (name in str(error) or name.lower() in str(error).split()):
            said = f"error: {name}={value} in the environment is refused by JAX: {error}"
            print(f"{said.rstrip('.')}.", file=_sys.stderr)
            _sys.exit(2)
    _sys.__excepthook__(kind, error, trace)


def _again(unraisable) -> None:
    """Ctrl-C in a callback of JAX's for Python's garbage collection, which would be swallowed."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _threading.Timer(0.01, _os.kill, (_os.getpid(), _signal.SIGINT)).start()
    else:
        _sys.__unraisablehook__(unraisable)


_sys.excepthook, _sys.unraisablehook = _while_importing, _again
