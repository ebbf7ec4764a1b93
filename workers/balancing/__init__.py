"""Who gets what when there is not enough: siblings, limits, budgets, queues."""
