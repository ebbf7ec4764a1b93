"""All cases, under the headings of docs/http.md."""

from __future__ import annotations

from tests.conformance import cases_bodies, cases_fields, cases_limits, cases_request_line
from tests.conformance.case import Case

TABLE: dict[str, list[Case]] = {
    "Request line": cases_request_line.REQUEST_LINE,
    "Version": cases_request_line.VERSIONS,
    "Target": cases_request_line.TARGETS,
    "Line ends": cases_request_line.LINE_ENDS,
    "Fields": cases_fields.FIELDS,
    "Host": cases_fields.HOST,
    "Connection": cases_fields.CONNECTION,
    "Expect": cases_fields.EXPECT,
    "Content-Length": cases_bodies.CONTENT_LENGTH,
    "Transfer-Encoding": cases_bodies.TRANSFER_ENCODING,
    "Chunks and trailers": cases_bodies.CHUNKS,
    "Several requests": cases_bodies.PIPELINES,
    "Sizes": cases_limits.SIZES,
}

CASES: dict[str, Case] = {f"{group}: {case.name}": case for group, cases in TABLE.items() for case in cases}
"""By group and name, which no two share."""

assert len(CASES) == sum(map(len, TABLE.values())), "two cases of one group have the same name"
