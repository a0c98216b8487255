"""Replay on the device: what is kept of the past, and how it is drawn.

Used by the loops through the contract ``Replay``. Read ``rings`` first.

    records      trees of arrays as rows of 32-bit words
    sumtree      drawing in proportion to priorities
    rings        the newest steps, or a uniform sample of the last ones
    datasets     what a finished run has kept, as a file, and how it is drawn
    prioritized  a ring drawn in proportion to TD errors
"""
