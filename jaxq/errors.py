"""The one exception for bad input, raised before anything compiles."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """Bad input. The message is one sentence: the field, its value and what is accepted."""


def unknown(field: str, value: object, accepted: Iterable[str]) -> ConfigError:
    """A ``ConfigError`` for a name that does not exist, with the nearest names that do."""
    accepted = sorted(accepted)
    close = difflib.get_close_matches(str(value), accepted, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"accepted: {', '.join(accepted)}."
    return ConfigError(f"{field}={value} does not exist; {hint}")
