"""What the admin process serves: probes, figures, an API and a page about the master it belongs to.

`app` has the ASGI application. It speaks to the master over one socket, in the control protocol, as ``gwctl``
does; it serves nobody's requests and decides nothing about workers. Whatever comes over HTTP is bounded
here before it can reach the master (`link`, `limits`), and is let in or not by `access` alone.

Imported by `admin.following`, `workers.lifecycle`.
Knows nothing of `supervisor`, `workers`, `cli`, `ipc`: how this process is started and watched is not its
job, nor how its application is served.
"""
