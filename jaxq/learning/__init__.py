"""What is minimised and how actions are chosen: the mathematics of every method.

Knows networks by their contract, and no loop. Read ``td``, then ``losses``: there stands DQN.

    td           TD errors and losses of one example, in the papers' notation
    backups      how the state after a step is valued: greedy, double, MINTO, soft, Munchausen
    returns      n-step windows and lambda returns
    losses       losses on batches of windows: DQN, C51, HL-Gauss, quantiles
    ensembles    losses of several value functions at once
    iterated     losses of several Bellman iterations at once: iS-DQN, i-DQN
    novelty      the loss of exploring by a bonus for what is new: RND
    recurrent    losses of sequences: DRQN, R2D2
    on_policy    the loss of on-policy Q(lambda)
    streaming    the loss of learning from a stream
    cloning      the loss of doing as the data do
    traces       what a stream is learned by: Stream Q, QRC, Intentional Q
    targets      how target networks follow
    exploration  how actions are chosen while training
    optimizers   optimizers whose numbers can all be swept
    regularisers  terms beside the loss: L2 Init, CHAIN, CQL
    plasticity   what starts anew: the head, dormant units, a share of everything
    rewards      rewards over the spread of their sums, for any agent
    agents       a network, a loss and a way to act as one ``Agent``
"""
