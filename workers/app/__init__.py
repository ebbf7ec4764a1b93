"""The application: found, imported, started; what it may do to its process, and how that is bounded.

Imported by `workers`.
Knows nothing of `workers.server`, `workers.context`, `workers.http1`, `workers.runners`,
`workers.lifecycle`: requests and connections are not its subject.
"""
