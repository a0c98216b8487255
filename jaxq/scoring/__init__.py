"""What measurements say, as numbers and as figures, in NumPy; knows no files of runs.

May be imported by runs, studies and reports. Read ``scores`` first.

    stats      IQM, bootstrap, profiles, tolerance intervals, normalised scores
    selection  how sure the choice of a setting is
    power      how many seeds tell two methods apart
    protocol   under what a score was measured, and in words
    scores     final scores, and who diverged
    cross      one setting on several environments: scales, choice, sensitivity
    canvas     what figures are made of
    plane      performance against sensitivity, as a figure
    plots      figures, each of which says what its band is
    panels     learning curves in panels: one for each environment, or for each run
    measured   figures of single seeds and of own metrics
    inside     what diagnostics measure, in words and as one figure
"""
