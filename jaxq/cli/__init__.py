"""The command line that all scripts share: words to requests, errors to exit codes.

Nothing imports it but scripts. Read ``main`` first.

    words      whole numbers, switches and options as people type them
    arguments  fields of a configuration as options, in groups
    main       presets and options, from words to a request
    tasks      from a request to a finished run directory, with a report
"""

import sys as _sys


def _stopped_at_once(kind, error, trace) -> None:
    """Ctrl-C while a script still imports what it needs."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nStopped at once.", file=_sys.stderr)
    else:
        _sys.__excepthook__(kind, error, trace)


_sys.excepthook = _stopped_at_once
