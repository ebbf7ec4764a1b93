"""A page that says which worker made it: pid, slot, generation, uptime. Needs nothing but gwctl."""

import html
import itertools
import os
import re
import sys
import time
from pathlib import Path

from setproctitle import getproctitle

STARTED = time.monotonic()
COLOUR = "#1b6ac9"  # change me while the server runs, then reload

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<title>gwctl: {worker}</title>
<style>
  body {{ font: 18px/1.6 system-ui, sans-serif; margin: 12vh auto; max-width: 34em; color: #222 }}
  h1 {{ color: {colour}; margin: 0 }}
  td {{ padding: 0 1.5em 0 0 }} td + td {{ font-variant-numeric: tabular-nums }}
  code {{ background: #f1f1f4; padding: .1em .4em; border-radius: .3em }}
</style>
<h1>{worker}</h1>
<table>
  <tr><td>pid<td>{pid}
  <tr><td>slot<td>{slot}
  <tr><td>generation<td>{generation}
  <tr><td>up<td>{uptime:.0f} s
  <tr><td>requests served here<td>{requests}
</table>
<p>Change <code>COLOUR</code> in <code>{file}</code>, then <code>{gwctl} reload --name demo</code> or
<code>kill -HUP {master}</code>: the generation rises and no request is lost. Put a mistake into the
file and reload again: you are told which, and this page stays.
"""

served = itertools.count(1)


def worker():
    """Pool, slot and generation, from the process title."""
    found = re.search(r"worker ((.+)\.(\d+)) g(\d+)", getproctitle())
    return found.group(1, 3, 4) if found else ("not under gwctl", "-", "-")


def application(environ, start_response):
    number = next(served)
    name, slot, generation = worker()
    if environ["PATH_INFO"] == "/plain":
        text = f"{name} g{generation} pid {os.getpid()}\n"
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]
    page = PAGE.format(
        worker=html.escape(name),
        colour=COLOUR,
        pid=os.getpid(),
        master=os.getppid(),
        slot=slot,
        generation=generation,
        uptime=time.monotonic() - STARTED,
        requests=number,
        file=html.escape(__file__),
        gwctl=html.escape(str(Path(sys.executable).with_name("gwctl"))),
    )
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [page.encode()]
