"""The three worker classes: who runs a request, and for how long."""
