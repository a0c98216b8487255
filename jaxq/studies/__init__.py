"""Many settings as one experiment: what is tried, by whom, and what is found.

Read ``sweeping`` first, then ``study`` and ``searches``.

    spaces     what is swept: from text to settings
    crossing   what several environments say together
    study      settings, parts and what they have measured, in a directory of runs
    cutting    which part trains which settings on which seeds
    evolution  successive halving and population-based training, as pure functions
    tuning     Optuna: ask, train, tell
    searches   how a study goes on
    planning   what a study would take
    fitting    what of it fits on a device that need not be here
    executors  who trains the parts: this process, several, Ray
    ending     the best setting again, and figures
    asking     what a caller may ask for, as a study
    sweeping   a sweep from beginning to end: settings, winner, figures
"""
