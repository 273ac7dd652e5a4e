"""Who may ask the review server, decided before anything else looks at a request.

Note [what is kept out]: a page in another tab can send requests to 127.0.0.1, but it cannot know
the token, cannot forge Origin and Sec-Fetch-Site, and a name that it points at 127.0.0.1 (DNS
rebinding) is not among the allowed hosts. Other users of this machine cannot know the token
either: the browser is started with a code that works once, not with the token.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass
class Guard:
    """The rules of one server run. hosts: allowed Host names without port."""

    hosts: tuple[str, ...] = LOCAL
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    once: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """Why a request is refused, '' when it is not. Header names in lower case."""
        host = headers.get("host", "")
        if _name(host) not in self.hosts:
            return f"host {host!r} is not served here; allow it with --allow-host"
        given = path.split("/")[1] if path.startswith("/") else ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return "the token in the address is wrong; take the address that twinreel printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"origin {origin!r} is another site"
        site = headers.get("sec-fetch-site", "none")
        arrives = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
        if site not in ("same-origin", "none") and not arrives:
            return f"the request comes from another site ({site})"
        if method not in ("GET", "HEAD"):
            if method != "POST":
                return f"{method} is not served here"
            if origin is None:
                return "a change needs an Origin header"
            if headers.get("content-type", "").split(";")[0] != "application/json":
                return "a change needs Content-Type: application/json"
        return ""

    def enters(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Whether this is the browser's first request; its code works once."""
        given = path.removeprefix("/open/")
        if method != "GET" or not self.once or _name(headers.get("host", "")) not in self.hosts:
            return False
        if not hmac.compare_digest(given.encode(), self.once.encode()):
            return False
        self.once = ""
        return True


def _name(host: str) -> str:
    """'nas.local:8080' -> 'nas.local', '[::1]:80' -> '[::1]'."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


class Guarded:
    """An ASGI application behind a Guard; every answer carries HEADERS."""

    def __init__(self, app: ASGIApp, guard: Guard, policy: str) -> None:
        self.app, self.guard = app, guard
        self.headers = {**HEADERS, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        method, path = scope["method"], scope["path"]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    out[name] = value
            await send(message)

        if self.guard.enters(method, path, headers):
            await RedirectResponse(f"/{self.guard.token}/", 303)(scope, receive, answer)
            return
        if refused := self.guard.refusal(method, path, headers):
            await PlainTextResponse(f"refused: {refused}\n", 403)(scope, receive, answer)
            return
        inner = {**scope, "path": path[len(self.guard.token) + 1 :] or "/"}
        inner.pop("raw_path", None)
        await self.app(inner, receive, answer)
