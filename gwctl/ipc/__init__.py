"""What master and workers share: channel, scoreboard, assignment, queues of connections."""
