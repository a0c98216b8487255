"""One run: many members trained side by side, in a directory that can always be continued.

Read ``runner`` first, then ``population``; ``files`` names every file of a run directory.

    files        the run directory: its files, and how they are written
    history      what a run has measured, chunk by chunk
    placement    batch, devices, memory
    population   seeds x lanes as compiled programs
    provenance   versions, machine, commit
    policy       trained networks on disk
    checkpoint   states on disk, to resume from
    sinks        what a run measures, copied to other places
    progress     what a run shows while it runs
    stopping     reasons to stop early
    resuming     that a run is the same, and where it was
    runner       chunks, evaluation, saving, stopping
    measurement  the fastest batch of members, by trying
"""
