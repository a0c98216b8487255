"""From names to functions: methods, presets, and what they may be made of.

The last floor of one member; those above run many. Read ``methods`` first, then ``experiment``.

    own         functions of one's own by name
    identity    what tells whether such a function is still the same
    rows        what a row of a table of parts is
    layers      torsos and layers by name
    renewal     rows of what is added to the loss, and of what starts anew
    following   rows of what is kept as target network
    parts       the parts that names stand for: a table per kind, with what each row reads
    acting      how actions are selected while training
    outputs     networks of agents by what they put out
    agents      agents by name: a loss, a network, and what they read
    reading     what a configuration reads: which fields have an effect
    lengths     how often the loops of a configuration go round
    ranges      what numbers may be, each by itself
    validation  what a ``Config`` and its ``HParams`` may be
    methods     every method as what it changes in DQN
    minatar     presets on MinAtar, under the protocols of three publications
    boards      presets on board games for one player
    libraries   presets on environments of other libraries
    bsuite      presets on bsuite's tasks
    presets     named experiments with the sources of their numbers
    suites      what is measured for others to compare with
    contracts   what parts of one's own are called with, and what they give
    watching    what parts of one's own read, found by watching them
    experiment  everything that a ``Config`` names, composed
"""
