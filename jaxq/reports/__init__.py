"""Finished runs as tables, figures and pages; reads what runs wrote and changes nothing of it.

Imports no code that a run names. Read ``sources`` first, then ``report``.

    labels     what runs are called
    swept      the settings of a sweep: their table, and where they were trained
    sources    finished runs as lanes with a label, a protocol and scores
    reference  curves of every seed that were measured once
    pooling    which lanes are one method on several environments
    anchors    what counts as 0 and as 1
    pages      blocks as HTML and Markdown
    latex      tables as LaTeX
    tables     lanes as tables
    sentences  how far comparisons can be relied on
    published  what others have measured, beside ours
    figures    lanes as pictures
    diagnosed  what diagnostics have measured
    across     methods on several environments
    tuning     sweeps over several environments, as methods: tuned for each, and for all
    repeating  how runs are made again
    report     any runs as one page
    terminal   results as tables in a terminal
    render     moving pictures of a policy
"""
