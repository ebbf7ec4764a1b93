"""What master and workers share: channel, scoreboard, assignment, queues of connections.

Both ends of each conversation are made of these types, so both read its form and its version here.

Imported by `supervisor`, `workers`.
Knows nothing of `supervisor`, `workers`, `cli`, `control`, `records`: neither side's decisions are here.
"""
