"""`clawdbot chat`: a conversation in the terminal, through the running gateway."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
from rich.console import Console

from clawdbot.cli.events import Event, parse_events
from clawdbot.cli.failures import Failure
from clawdbot.cli.tokens import Signer
from clawdbot.runtime.config import Config
from clawdbot.runtime.secrets import API_TOKEN, Secrets

CHAT_PATH = "/api/chat"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NOT_UP = "start it with `clawdbot up`, or name the right port in app.port"


TOKEN_TTL = timedelta(minutes=5)
"""Longer than a request begins; nobody keeps these tokens, so none is recorded."""


def tokens_of(config: Config, found: Secrets, user: str) -> Callable[[], str]:
    """Return what gives a token for each request: ours, or the one of an identity provider.

    Raises:
        ConfigError: the signing key, or the provider's token, is missing.
    """
    if config.gateway.jwt.jwks_url is not None:
        given = found.text(API_TOKEN)
        return lambda: given
    signer = Signer.of(config, found)
    tenant = config.platforms.webhook.tenant
    return lambda: signer.issue(user=user, tenant=tenant, ttl=TOKEN_TTL).text


class Chat:
    """Asks the gateway and prints the answer while it is written.

    Args:
        client: with the gateway as its base address.
        new_token: makes a token for one request; a long conversation outlives any.
        conversation: its name within the user's own conversations.
    """

    def __init__(
        self,
        client: httpx.Client,
        new_token: Callable[[], str],
        console: Console,
        *,
        conversation: str = "terminal",
    ) -> None:
        self._client = client
        self._new_token = new_token
        self._console = console
        self._conversation = conversation

    def converse(self, questions: Iterable[str]) -> None:
        """Answer each question in turn; a failed one does not end the conversation.

        Raises:
            Failure: the gateway is not there or does not accept our token.
        """
        for question in questions:
            if not question.strip():
                continue
            for event in self._ask(question):
                self._show(event)

    def _ask(self, question: str) -> Iterator[Event]:
        body = {"content": question, "conversation_id": self._conversation, "stream": True}
        headers = {"Authorization": f"Bearer {self._new_token()}"}
        self._written = ""
        try:
            with self._client.stream("POST", CHAT_PATH, json=body, headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    yield _refusal(answer)
                    return
                yield from parse_events(answer.iter_lines())
        except httpx.ConnectError as exc:
            raise Failure(f"no gateway at {self._client.base_url}", fix=_NOT_UP) from exc
        except httpx.HTTPError as exc:
            raise Failure(f"the answer broke off: {type(exc).__name__}") from exc

    def _show(self, event: Event) -> None:
        match event.name:
            case "delta":
                self._show_delta(event)
            case "message":
                self._show_answer(event)
            case "error":
                self._line(str(event.data.get("detail") or event.data.get("title")), "red")
                if fix := event.data.get("fix"):
                    self._line(str(fix), "dim")

    def _show_delta(self, event: Event) -> None:
        text = str(event.data.get("text", ""))
        if event.data.get("index") == 0 and self._written:
            # Another worker took the turn over and writes it anew.
            self._line("", "")
            self._written = ""
        self._written += text
        self._console.print(_clean(text), end="", markup=False, highlight=False, soft_wrap=True)

    def _show_answer(self, event: Event) -> None:
        content = str(event.data.get("content", ""))
        if content.strip() != self._written.strip():
            self._line("" if not self._written else "\n", "")
            self._line(content, "")
        else:
            self._line("", "")
        for citation in event.data.get("metadata", {}).get("recalled", []):
            self._line(f"  remembered ({citation['score']:.2f}): {citation['content']}", "dim")

    def _line(self, text: str, style: str) -> None:
        self._console.print(
            _clean(text), style=style, markup=False, highlight=False, soft_wrap=True
        )


def gateway_client(
    url: str, chat_timeout_s: float, certificate: Path | None = None
) -> httpx.Client:
    """Return a client that waits a little longer than the gateway itself does.

    Args:
        url: where the gateway is.
        chat_timeout_s: the gateway's own patience.
        certificate: PEM file of the gateway's own, trusted beside the usual authorities.
    """
    patience = httpx.Timeout(10, read=chat_timeout_s + 10)
    trust = ssl.create_default_context()
    if certificate is not None:
        trust.load_verify_locations(certificate)
    return httpx.Client(base_url=url, timeout=patience, trust_env=False, verify=trust)


def typed(console: Console) -> Iterator[str]:
    """Yield what a person types, until Ctrl-D or Ctrl-C."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return


def _refusal(answer: httpx.Response) -> Event:
    answer.read()
    try:
        problem = answer.json()
    except json.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"the gateway answered {answer.status_code}"}
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Failure(
            "the gateway does not accept our token",
            fix="it must run with the same secret jwt_secret as this command reads",
        )
    return Event("error", problem)


def _clean(text: str) -> str:
    """Return `text` unable to steer the terminal."""
    return _CONTROL.sub("\ufffd", text)
