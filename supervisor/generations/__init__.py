"""What each generation runs with: plans, capacities, logs and queues."""
