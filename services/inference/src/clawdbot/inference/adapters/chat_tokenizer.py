"""Conversations to tokens and back.

Nobody can forge a control token by typing it: the template's own text may hold control tokens,
contents never do. Contents are rendered as random markers, put back afterwards, and encoded by a
tokenizer that knows no control tokens.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from clawdbot.schema.errors import InvalidMessage, NotFound
from clawdbot.schema.inference import ChatTurn


class ChatTokenizer:
    """A chat model's tokenizer with its template.

    Args:
        definition: contents of tokenizer.json.
        template: contents of chat_template.jinja.
        variables: what the template may refer to, such as `bos_token`.

    Raises:
        NotFound: either of them is not usable.
    """

    def __init__(self, definition: str, template: str, variables: dict[str, str]) -> None:
        self._tokenizer = open_tokenizer(definition)
        self._plain = without_added_tokens(definition)
        added = self._tokenizer.get_added_tokens_decoder()
        self._control = {token.content: index for index, token in added.items()}
        longest_first = sorted(self._control, key=len, reverse=True)
        self._control_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self._variables = variables
        self._template = _compiled(template)
        self._refuse_forgeable()

    def encode(self, turns: Sequence[ChatTurn]) -> list[int]:
        """Return the prompt that makes the model answer.

        Raises:
            InvalidMessage: the template refuses the conversation.
        """
        tokens: list[int] = []
        text = ""
        for piece in self._pieces(turns):
            if isinstance(piece, str):
                text += piece
                continue
            tokens += self._encode_plain(text)
            tokens.append(piece)
            text = ""
        return tokens + self._encode_plain(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, without control tokens."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _encode_plain(self, text: str) -> list[int]:
        return list(self._plain.encode(text, add_special_tokens=False).ids) if text else []

    def _pieces(self, turns: Sequence[ChatTurn]) -> Iterator[str | int]:
        """Yield text and control tokens in order; adjacent texts belong together."""
        mark = secrets.token_hex(8)
        rendered = self._render(
            # An empty content stays empty, since templates ask whether there is one.
            {"role": turn.role, "content": f"\ue000{mark}:{index}\ue001" if turn.content else ""}
            for index, turn in enumerate(turns)
        )
        parts = re.split(f"\ue000{mark}:(\\d+)\ue001", rendered)
        yield from self._template_pieces(parts[0])
        for index, literal in zip(parts[1::2], parts[2::2], strict=True):
            yield turns[int(index)].content
            yield from self._template_pieces(literal)

    def _template_pieces(self, literal: str) -> Iterator[str | int]:
        if not self._control:
            yield literal
            return
        for piece in self._control_pattern.split(literal):
            yield self._control.get(piece, piece)

    def _render(self, messages: Iterator[dict[str, str]]) -> str:
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=True, **self._variables
            )
        except jinja2.TemplateError as exc:
            raise InvalidMessage(
                f"the model's chat template refuses the conversation: {exc}", field="messages"
            ) from exc

    def _refuse_forgeable(self) -> None:
        encoded = (self._encode_plain(content) for content in self._control)
        if not set(chain.from_iterable(encoded)).isdisjoint(self._control.values()):
            raise NotFound("the tokenizer lets plain text become control tokens")


def open_tokenizer(definition: str) -> Tokenizer:
    """Return the tokenizer in `definition`.

    Raises:
        NotFound: it is no tokenizer.json.
    """
    _parsed(definition)
    return Tokenizer.from_str(definition)


def without_added_tokens(definition: str) -> Tokenizer:
    """Return the tokenizer that reads control tokens as the characters they are written with."""
    document = _parsed(definition) | {"added_tokens": [], "post_processor": None}
    return Tokenizer.from_str(json.dumps(document))


def _parsed(definition: str) -> dict[str, object]:
    try:
        document = json.loads(definition)
    except ValueError as exc:
        raise NotFound(f"the tokenizer is no JSON: {exc}") from exc
    # The tokenizers library reports whatever else is wrong by a bare Exception.
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise NotFound("the tokenizer is no tokenizer.json: it has no model")
    return document


def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as exc:
        raise NotFound(f"the chat template cannot be used: {exc}") from exc


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
