"""The XML of WeCom's and WeChat's callbacks: one element around named texts.

Nothing that a document type could declare is read: a document that has one is refused.
"""

from __future__ import annotations

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from clawdbot.gateway.adapters.platforms.requests import refused
from clawdbot.gateway.adapters.refusals import BadPayload

MAX_DEPTH = 8
MAX_ELEMENTS = 256
NAMED = 2


def parse_fields(data: bytes) -> dict[str, str]:
    """Return the texts of the elements right below the root `xml`, by name.

    What is nested deeper is passed over.

    Raises:
        BadPayload: not UTF-8, not XML, another root, a document type, a name twice, or more
            elements than `MAX_ELEMENTS`, or nested deeper than `MAX_DEPTH`.
    """
    reader = _Fields()
    parser = DefusedXMLParser(target=reader, forbid_dtd=True)
    try:
        # As text: whatever encoding the document claims, it is UTF-8.
        parser.feed(data.decode("utf-8"))
        parser.close()
    except UnicodeDecodeError as exc:
        raise BadPayload("the body is not UTF-8") from exc
    except (ParseError, DefusedXmlException) as exc:
        raise BadPayload("the body is not the XML that we accept") from exc
    return reader.found


def encrypted_in(body: bytes) -> str:
    """Return what stands encrypted in a callback.

    Raises:
        Unauthenticated: nothing does.
    """
    try:
        text = parse_fields(body).get("Encrypt")
    except BadPayload:
        raise refused() from None
    if not text:
        raise refused()
    return text


class _Fields:
    """What the parser tells its findings."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._texts: list[str] = []
        self._depth = 0
        self._count = 0

    def start(self, tag: str, attributes: object) -> None:  # noqa: ARG002 -- the parser's
        """Begin an element."""
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise BadPayload("the body has too many elements")
        if self._depth == 1 and tag != "xml":
            raise BadPayload("the body's root is not xml")
        if self._depth == NAMED:
            if tag in self.found:
                raise BadPayload("the body has a name twice")
            self._texts = []

    def data(self, text: str) -> None:
        """Take a piece of text."""
        if self._depth == NAMED:
            self._texts.append(text)

    def end(self, tag: str) -> None:
        """End an element."""
        if self._depth == NAMED:
            self.found[tag] = "".join(self._texts)
        self._depth -= 1

    def close(self) -> None:
        """End the document."""
