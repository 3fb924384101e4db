"""The networks, their registry and what they share.

A network is a torch module whose constructor takes `vocabulary` (how many word ids there are) and its own settings,
each declared with bounds, and whose forward takes word ids [batch, word], 0 after a review's end, and returns logits
[batch]. One that takes `classes` too can tell more than two apart: then it returns logits [batch, class]. It may have
`prepare`, called once before the first epoch with the training reviews, pairs of ids [batch, word] and labels [batch],
and `train_defaults`, the training settings it prefers to the common defaults.
"""
