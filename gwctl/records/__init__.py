"""What happens, as records: one frozen struct for each kind of happening, with all its figures.

The master's log is made of them, and whatever else wants to know what happened (a log in JSON, a
list of events, metrics) reads the record and never the sentence. `sentences` is the one module that
says a record in words. A record made into JSON and read again is the same: its kind is in the field
``record``, and `AnyRecord` names all kinds.

Rules
    - One author for each happening: the core for what is decided (and all that befalls a worker), the shell
      for what it alone sees.
    - Figures, not words: a field with a text holds what came from outside (an error of the kernel,
      an application's traceback, a request line), or a reason that something else was decided for.
    - A new field has a default: what reads a record may be of another version.

Imported by `supervisor`.
Knows nothing of `supervisor`, `config`, `control`, `ipc`, `cli`, `workers`: of gwctl it has `wording` and
`watched` alone.
"""

from __future__ import annotations

from gwctl.records.admin import AboutAdmin
from gwctl.records.master import AboutMaster
from gwctl.records.reloads import AboutReloads
from gwctl.records.scaling import AboutScaling
from gwctl.records.workers import AboutWorkers

AnyRecord = AboutAdmin | AboutMaster | AboutReloads | AboutScaling | AboutWorkers
"""Every kind there is."""
