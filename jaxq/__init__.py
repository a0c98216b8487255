"""Deep Q-learning as pure functions, compiled whole, over many members at once.

The floors of the house, from the ground up. A floor imports only from floors that stand before it
in this list; so do the modules inside it, in the order in which its docstring names them.

    errors     the one exception for bad input
    schedules  numbers that change with the clock
    types      the data that flows, and the contracts between parts
    config     ``Config`` (static) and ``HParams`` (traced)
    settings   what a lane changes, by name
    envs       environments with exact episode ends
    networks   from observations to values
    replay     the past, on the device
    learning   losses, backups, targets, exploration: the mathematics of every method
    loops      the loops that train and evaluate one member
    recipes    from names to functions: methods, presets
    scoring    what measurements say, as numbers and figures
    runs       many members in a directory that can be continued
    studies    many settings as one experiment
    reports    finished runs as tables and pages
    cli        the command line of all scripts
"""

__version__ = "0.2.0"
