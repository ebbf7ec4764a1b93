"""gwctl as a service of a real systemd, by the units that it writes itself."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.pages import from_page
from tests.support.wait import until
from tests.systemd.box import MAKE
from tests.systemd.site import GWCTL, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_unit_is_silent_shut_in_and_serves(site: Site) -> None:
    """Start, status, a user of its own, and what the sandbox lets it do."""
    site.install()
    verified = site.box.run("systemd-analyze", "verify", f"{site.unit}.service")
    assert (verified.returncode, verified.stderr) == (0, "")
    exposure = site.box.says(
        "systemd-analyze", "security", "--no-pager", f"{site.unit}.service"
    ).splitlines()[-1]
    assert float(exposure.split(": ")[1].split()[0]) <= 1.0
    site.start()
    assert site.show("StatusText") == "web 2/2 ready g1"
    assert site.ask().startswith("one ")
    owner = site.box.says("stat", "-c", "%u", f"/proc/{site.pid}")
    assert int(owner) >= 61184, "the first of systemd's own users"
    assert site.gwctl("status").stdout.startswith(f"{site.name}  healthy  pid {site.pid} ")
    pid = site.pid
    assert site.gwctl("upgrade").returncode == 0
    assert site.pid == pid
    assert site.ask().startswith("one ")


def test_reloads(site: Site) -> None:
    site.install()
    site.start()
    site.version("two")
    assert site.systemctl("reload").returncode == 0
    assert site.ask().startswith("two ")
    site.version("three", before='raise RuntimeError("not today")')
    refused = site.systemctl("reload")
    assert refused.returncode == 1
    assert "RuntimeError: not today" in site.journal()
    assert site.show("StatusText").startswith(
        "degraded: generation 3 was not adopted: web: cannot import shop"
    )
    assert site.show("ActiveState") == "active"
    assert site.ask().startswith("two ")
    site.version("four")
    assert site.systemctl("reload").returncode == 0
    assert site.show("StatusText").startswith("web 2/2 ready g4")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_nobody_is_refused(site: Site, how: str) -> None:
    """Three restarts, or kills of the master, under load: all are answered, also who was in hand."""
    site.install(drop_in="[Unit]\\nStartLimitIntervalSec=0\\n")
    site.start()
    with site.load() as load:
        for _ in range(3):
            pid = site.pid
            if how == "restart":
                assert site.systemctl("restart").returncode == 0
            else:
                site.box.says("sh", "-c", f"kill -KILL {pid}")
            site.wait_for_another(pid)
    assert (load.failed, load.failures) == (0, [])
    assert load.counts["/"] > 5
    assert load.counts["/slow"] >= 1


def test_a_master_that_stands_still_is_replaced(site: Site) -> None:
    """By the watchdog; its workers serve until then, and who asks meanwhile is answered."""
    site.install(drop_in="[Service]\\nWatchdogSec=10\\n")
    site.start()
    pid = site.pid
    site.box.says("sh", "-c", f"kill -STOP {pid}")
    assert site.ask().startswith("one ")
    site.wait_for_another(pid)
    assert site.show("NRestarts") == "1"
    assert "Watchdog timeout" in site.journal()
    assert site.ask().startswith("one ")


def test_a_group_for_the_master_below_that_of_the_service(site: Site) -> None:
    """With a hard limit of memory. A killed master is replaced beside its workers, which are in other groups."""
    site.pool["recycle"] = {"memory_hard_bytes": 1 << 30}
    site.master["log_level"] = "debug"
    site.install()
    verified = site.box.run("systemd-analyze", "verify", f"{site.unit}.service")
    assert (verified.returncode, verified.stderr) == (0, "")
    site.start()
    group = site.box.says("cat", f"/proc/{site.pid}/cgroup")
    assert group.endswith(f"/{site.unit}.service/gwctl-master")
    said = site.journal()
    assert "each worker has a control group of its own" in said or "has no memory controller" in said
    with site.load() as load:
        for _ in range(2):
            pid = site.pid
            site.box.says("sh", "-c", f"kill -KILL {pid}")
            site.wait_for_another(pid)
    assert (load.failed, load.failures) == (0, [])


def test_a_boot_that_is_longer_than_the_unit_allows(site: Site) -> None:
    """It moves on, and so is given time; one that hangs is not, beyond its own limit."""
    site.version("one", before="import time; time.sleep(14)")
    site.install(drop_in="[Service]\\nTimeoutStartSec=10\\n")
    began = time.monotonic()
    site.start()
    assert time.monotonic() - began >= 14
    assert site.ask().startswith("one ")


def test_what_a_restart_cannot_mend_is_not_restarted(site: Site) -> None:
    site.version("one", before="import nothing_of_this_name")
    site.install()
    assert site.systemctl("start").returncode == 1
    assert site.show("ActiveState") == "failed"
    assert site.show("ExecMainStatus") == "4"
    assert site.show("NRestarts") == "0"
    assert site.show("StatusText").startswith("failed: cannot import shop: ModuleNotFoundError")
    site.version("one")
    site.box.says("sh", "-c", f"echo 'nonsense = 1' >> {site.place}/gw.toml")
    assert site.systemctl("start").returncode == 1
    assert site.show("ExecMainStatus") == "2"
    assert "nonsense" in site.show("StatusText")


def test_sockets_of_systemd(site: Site) -> None:
    """The first client starts the service; the port is open whatever the service does."""
    site.install("--socket")
    site.pool["bind"] = ["systemd:web"]
    site.write()
    site.box.says("systemctl", "start", f"{site.unit}.socket")
    assert site.show("ActiveState") == "inactive"
    assert site.ask().startswith("one ")
    with site.load() as load:
        for _ in range(2):
            assert site.systemctl("restart").returncode == 0
    assert (load.failed, load.failures) == (0, [])


def test_a_stop_waits_for_who_is_in_hand(site: Site) -> None:
    site.install()
    site.start()
    with site.load() as load:
        until(lambda: site.box.run("sh", "-c", "ls /tmp/*/tmp/slow").returncode == 0, "a slow request")
    assert site.systemctl("stop").returncode == 0
    assert site.show("Result") == "success"
    assert load.failed == 0
    assert "0 requests cut" in site.journal()


def test_the_journal_has_priorities_and_fields(site: Site) -> None:
    """A traceback is one entry, and ``journalctl -p err`` shows what matters."""
    site.install()
    site.start()
    site.version("two", before='raise RuntimeError("not today")')
    site.systemctl("reload")
    errors = site.entries("-p", "err", "SYSLOG_IDENTIFIER=" + site.name)
    assert errors
    refusal = next(each for each in errors if "was not adopted" in each["MESSAGE"])
    assert "RuntimeError: not today" in refusal["MESSAGE"], "with its traceback"
    assert refusal["PRIORITY"] == "3"
    ready = [
        each
        for each in site.entries("SYSLOG_IDENTIFIER=" + site.name)
        if "ready in" in each["MESSAGE"] and "pid" in each["MESSAGE"]
    ]
    assert {each["GWCTL_POOL"] for each in ready} == {"web"}
    assert {each["GWCTL_SLOT"] for each in ready} == {"0", "1"}
    assert {each["GWCTL_GENERATION"] for each in ready} >= {"1"}
    assert {each["GWCTL_EVENT"] for each in ready} == {"worker_ready"}
    assert (refusal["GWCTL_EVENT"], refusal["PRIORITY"]) == ("reload_refused", "3")
    of_code = [name for each in (*errors, *ready) for name in each if name.startswith("CODE_")]
    assert of_code == [], "a place in gwctl's source is of use to nobody"


def test_gwctl_logs_reads_the_journal_back(site: Site) -> None:
    """What the journal has of an event is what the event was: kind, level, place, and a traceback as one."""
    site.install()
    site.start()
    site.version("two", before='raise RuntimeError("not today")')
    site.systemctl("reload")
    logs = [GWCTL, "logs", "--json", "-c", f"{site.place}/gw.toml"]
    read = [json.loads(line) for line in site.box.says(*logs).splitlines()]
    refusals = [each for each in read if each["kind"] == "reload_refused"]
    assert [each["level"] for each in refusals] == ["error"]
    assert "RuntimeError: not today" in refusals[0]["text"]
    assert '\n  File "/srv/' in refusals[0]["text"], "with its traceback"
    ready = [each for each in read if each["kind"] == "worker_ready" and each["generation"] == 1]
    assert {(each["pool"], each["slot"]) for each in ready} == {("web", 0), ("web", 1)}
    written = site.entries("SYSLOG_IDENTIFIER=" + site.name, "GWCTL_EVENT=reload_refused")
    assert [each["MESSAGE"] for each in written] == [f"master: {refusals[0]['text']}"]


@pytest.mark.skipif(not MAKE, reason="make test-systemd has it: twelve seconds")
def test_a_unit_takes_over_from_another(site: Site) -> None:
    """There and back under load: nobody notices, and each ends well when the other has its place."""
    site.master["control"] = "/run/gwctl-both/shop.sock"
    site.install("--run-as", "daemon")
    other = f"{site.unit}-other"
    first, second = (f"/run/systemd/system/{each}.service" for each in (site.unit, other))
    site.box.says("sed", "-i", "-e", "/^ExecStart=/s/$/ --takeover/", first)
    site.box.says("cp", first, second)
    site.box.says("systemctl", "daemon-reload")
    site.start()
    with site.load() as load:
        for beginning, ending in ((other, site.unit), (site.unit, other)):
            before = int(site.box.show(f"{ending}.service", "MainPID"))
            done = site.box.run("systemctl", "start", beginning)
            assert done.returncode == 0, site.box.says("journalctl", "-u", beginning, "--no-pager")
            until(
                lambda: site.box.show(f"{ending}.service", "ActiveState") == "inactive",  # noqa: B023
                f"{ending} to end",
            )
            assert site.box.show(f"{ending}.service", "Result") == "success"
            assert site.gwctl("status").stdout.startswith(f"{site.name}  healthy  pid ")
            assert f"took the place of pid {before} " in site.box.says("journalctl", "-u", beginning)
    assert (load.failed, load.failures) == (0, [])
    assert load.counts["/"] > 5
    assert load.counts["/slow"] >= 1


def test_one_unit_for_many_folders(site: Site) -> None:
    site.install("--template")
    site.box.says("systemctl", "start", f"gwctl@{site.name}")
    assert site.ask().startswith("one ")
    assert site.box.show(f"gwctl@{site.name}", "StatusText") == "web 2/2 ready g1"
    site.box.says("systemctl", "stop", f"gwctl@{site.name}")
    site.box.says("rm", "/run/systemd/system/gwctl@.service")


def test_the_commands_of_the_page(site: Site) -> None:
    """docs/deploy-systemd.md, from nothing to a reload; `gwctl check --unit` in the place where the unit runs."""
    site.write()
    site.box.says("cp", "-r", site.place, "/srv/shop")
    site.box.says("sed", "-i", "s/^name = .*/name = 'shop'/", "/srv/shop/gw.toml")
    place = "/etc/systemd/system"
    said = [
        site.box.says("sh", "-c", f"PATH=/srv/gwctl/venv/bin:$PATH; {command}")
        for command in (
            from_page("deploy-systemd.md", "gwctl unit -c /srv/shop/gw.toml -o /etc/systemd/system"),
            from_page("deploy-systemd.md", "systemctl daemon-reload"),
            from_page("deploy-systemd.md", "systemctl enable --now gwctl-shop"),
            from_page(
                "deploy-systemd.md",
                "gwctl check -c /srv/shop/gw.toml --unit /etc/systemd/system/gwctl-shop.service",
            ),
            from_page("deploy-systemd.md", "systemctl reload gwctl-shop"),
        )
    ]
    assert said[3].endswith("gwctl-shop.service: fits the settings")
    assert site.ask().startswith("one ")
    assert site.box.show("gwctl-shop", "StatusText") == "web 2/2 ready g2"
    site.box.says("systemctl", "disable", "--now", "gwctl-shop")
    site.box.says("rm", "-r", f"{place}/gwctl-shop.service", "/srv/shop")
