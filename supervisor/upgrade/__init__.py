"""The upgrade in place: a snapshot of the old program, and a new one that goes on from it."""
