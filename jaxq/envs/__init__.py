"""Environments as ``Env``: exact episode ends, encoded observations, one adapter per library.

May be imported by every floor above. Read ``episodes`` first: it says what a time limit means.

    encoding   how observations are shown to networks and stored
    forms      shapes and dtypes of what somebody's functions return
    probing    what an environment returns, and what cannot be trained on
    trying     a few random steps, and what is hardly meant
    episodes   any environment as an ``Env``: automatic resets, time limits, statistics
    previous   the last action and reward as part of what is observed
    own        what a name of somebody's own environment may stand for
    gymnax     what gymnax calls things, and the protocols of its environments
"""
