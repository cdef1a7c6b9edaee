"""The chat page: three files of the package, held in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True)
class Page:
    """One file with its type and tag."""

    content: bytes
    media_type: str
    tag: str

    async def respond(self, request: Request) -> Response:
        """Return the file, or 304 when the browser has it."""
        headers = {"ETag": self.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def load_pages() -> dict[str, Page]:
    """Return the pages by path."""
    return {path: _load(name, media_type) for path, (name, media_type) in _FILES.items()}


def _load(name: str, media_type: str) -> Page:
    content = files("clawdbot.gateway.adapters").joinpath("web", name).read_bytes()
    return Page(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
