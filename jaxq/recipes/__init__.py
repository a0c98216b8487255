"""From names to functions: methods, presets, and what they may be made of.

The last floor of one member; those above run many. Read ``methods`` first, then ``experiment``.

    validation  what a ``Config`` and its ``HParams`` may be
    methods     every method as what it changes in DQN
    minatar     presets on MinAtar, under the protocols of three publications
    presets     named experiments with the sources of their numbers
    agents      the network, the loss and the agent that a ``Config`` names
    experiment  everything that a ``Config`` names, composed
"""
