"""Environments as ``Env``: exact episode ends, encoded observations, one adapter per library.

May be imported by every floor above. Read ``episodes`` first: it says what a time limit means.

    encoding   how observations are shown to networks and stored
    forms      shapes and dtypes of what somebody's functions return
    probing    what an environment returns, and what cannot be trained on
    contract   what gymnax says that an environment returns
    resetting  who begins anew after an episode's end, and how many resets that takes
    episodes   any environment as an ``Env``: automatic resets, time limits, statistics
    trying     a few random steps, what is hardly meant, how fast they are
    previous   the last action and reward as part of what is observed
    gymnax     what gymnax calls things, and the protocols of its environments
    own        what a name of somebody's own environment may stand for
    craftax    what Craftax calls things
    octax      what Octax calls things
    pgx        what pgx calls things
    xminigrid  what XLand-MiniGrid calls things
    libraries  environments by name, whatever library they are from
"""
