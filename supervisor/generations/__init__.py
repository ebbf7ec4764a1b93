"""What each generation runs with: plans, capacities, logs and queues.

Imported by the master, the control server and the upgrade. It knows settings and listeners, and no process.
"""
