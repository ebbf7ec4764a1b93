"""The dashboard's page, and the policy in it that says which script and which style are ours.

``python -m tests.support.page`` writes the policy anew, after a change of script or style. While one works on the page,
the stand-in server (`tests.support.admin_stand_in`) does that each time that it sends it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parents[2] / "gwctl/admin/page.html"

_POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')


def policy_in(text: str) -> str:
    found = _POLICY.search(text)
    assert found is not None
    return found[2]


def policy_for(text: str) -> str:
    """What the page needs and nothing else: this style, this script, and answers of where it comes from.

    The last two have the browser itself refuse to take text for HTML.
    """
    rules = [
        "default-src 'none'",
        f"style-src {_hashes(text, 'style')}",
        f"script-src {_hashes(text, 'script')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    return "; ".join(rules)


def with_policy(text: str) -> str:
    return _POLICY.sub(lambda found: found[1] + policy_for(text) + found[3], text)


def _hashes(text: str, tag: str) -> str:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


if __name__ == "__main__":
    PAGE.write_text(with_policy(PAGE.read_text("utf-8")), "utf-8")
