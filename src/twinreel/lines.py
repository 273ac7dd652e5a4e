"""Which line of a report's text an error speaks of, for whoever edits reports by hand.

line_of(text, "groups[2]: a member is listed twice")     # 41
"""

from __future__ import annotations

import json
import re


def line_of(text: str, message: str) -> int | None:
    """The line of a report that a message like "groups[2]: ... 'PATH' ..." speaks of."""
    found = re.search(r"\b(videos|matches|groups|failures|folders)\[(\d+)\]", message)
    quoted = re.search(r"'([^']+)'", message)
    name = json.dumps(quoted[1]) if quoted else ""
    if found:
        start, end = _span(text, found[1], int(found[2])) or (-1, -1)
    else:  # 'group member PATH is not among the videos': its last mention is the group's
        start, end = (text.rfind(name), len(text)) if "group member" in message else (-1, -1)
    if start < 0:
        return None
    exact = text.find(name, start, end) if name else -1
    return text.count("\n", 0, exact if exact >= 0 else start) + 1


def _span(text: str, name: str, index: int) -> tuple[int, int] | None:
    """Where the index-th record of a top-level list stands in a report's text."""
    if '"format": "lines"' in text.partition("\n")[0]:
        starts = [m.start() for m in re.finditer(rf'^{{"{name}":', text, re.MULTILINE)]
        return (starts[index], text.find("\n", starts[index])) if index < len(starts) else None
    decoder = json.JSONDecoder()
    skip = re.compile(r"[\s,:]*")

    def past(i: int) -> int:
        return skip.match(text, i).end()  # type: ignore[union-attr]

    i = past(text.index("{") + 1)
    while text[i] != "}":
        key, i = decoder.raw_decode(text, i)
        i = past(i)
        if key != name or text[i] != "[":
            _, i = decoder.raw_decode(text, i)
            i = past(i)
            continue
        i, n = past(i + 1), 0
        while text[i] != "]":
            start = i
            _, i = decoder.raw_decode(text, i)
            if n == index:
                return start, i
            i, n = past(i), n + 1
        return None
    return None
