"""Deep Q-learning as pure functions, compiled whole, over many members at once."""

__version__ = "0.1.0"
