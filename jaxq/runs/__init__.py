"""One run: many members trained side by side, in a directory that can always be continued.

Read ``runner`` first, then ``population``; ``files`` names every file of a run directory.

    files        every file of a run directory, and how it is written
    locking      one process at a time writes into a directory
    tensors      arrays in one file
    spec         what a run is asked to do
    spreading    how it is carried out, as asked for
    history      what a run has measured, chunk by chunk
    listening    who hears of a run: the contract
    container    what a container is granted of cores and memory
    machine      every core a device, compiled programs kept
    placement    batch, devices, memory
    members      trees of members: stacked, mapped over
    programs     functions compiled for every device
    described    devices that need not be here
    population   seeds x lanes as compiled programs
    provenance   versions, machine, commit
    recording    metrics, scores and curves on disk
    policy       trained networks on disk
    keeping      the replay of a run, kept for others to learn from
    checkpoint   states on disk, to resume from
    sinks        what a run measures, copied to other places
    progress     what a run shows while it runs
    stopping     reasons to stop early
    signals      Ctrl-C, kept until a run can stop
    resuming     that a run is the same, and where it was
    joining      two runs with other seeds as one
    runner       chunk after chunk, and whoever hears of them
    adding       seeds that a run lacks, trained inside of it
    measurement  the fastest batch of members, by trying
"""
