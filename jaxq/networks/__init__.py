"""Networks: features from observations, values from features; parameters and nothing else.

Knows no loss and no environment. Read ``torsos`` first, then ``heads``.

    layers     dense layers: plain, noisy, spectral
    kernels    what is written unusually for speed: convolutions as one matmul, the LSTM
    heads      values, atoms and quantiles from features; dueling
    torsos     features from observations
    modules    a flax module as a ``Network``
    memory     networks that remember
    ensembles  several copies of a module as one network
"""
