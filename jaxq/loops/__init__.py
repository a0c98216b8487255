"""The loops that train and evaluate one member, compiled whole; what a method is they are given.

Read ``rollout``, then ``off_policy``: THE loop of every method with a replay.

    rollout      one step of every environment, and the statistics of episodes
    updating     one gradient update on one sample
    off_policy   the loop of every method with a replay
    on_policy    the loop of on-policy Q(lambda)
    streaming    the loop of learning from a stream, with no replay and no batch
    offline      the loop of learning from a dataset, without acting
    resets       a trainer of which something starts anew from time to time
    evaluation   exactly K whole episodes per member
    diagnostics  what goes on inside a member: churn, ranks, dormant units, norms
"""
