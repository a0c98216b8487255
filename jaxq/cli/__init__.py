"""The command line that all scripts share: words to requests, errors to exit codes.

Nothing imports it but scripts. Read ``main`` first.

    words      whole numbers, switches and options as people type them
    arguments  fields of a configuration as options, in groups
    main       presets and options, from words to a request
    tasks      from a request to a finished run directory, with a report
"""
