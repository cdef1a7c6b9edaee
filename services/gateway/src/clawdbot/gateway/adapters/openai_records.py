"""The JSON that OpenAI's clients read.

Source: OpenAI API reference, chat completions (object, streaming), as the official client 3.54
types it.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.gateway.domain.completions import Finished, OfferedModel, ToolCall
from clawdbot.schema.messages import Usage


@dataclass(frozen=True)
class Completion:
    """What every record of one answer says."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    """As asked for."""
    shows_usage: bool = False
    """Whether each chunk of a stream has the member `usage`."""

    def whole(self, answer: Finished) -> dict[str, object]:
        """Return an answer in one piece."""
        message: dict[str, object] = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
        }
        if answer.call is not None:
            message |= {"content": None, "tool_calls": [self._call(answer.call)]}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": answer.finish_reason,
        }
        return {
            **self._head("chat.completion", answer.backend),
            "choices": [choice],
            "usage": usage_record(answer.usage),
        }

    def begun(self) -> dict[str, object]:
        """Return the first chunk."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def piece(self, text: str) -> dict[str, object]:
        """Return a chunk of text."""
        return self._chunk({"content": text})

    def call_begun(self, name: str) -> dict[str, object]:
        """Return the chunk that begins a call."""
        return self._chunk({"tool_calls": [{"index": 0, **self._call(ToolCall(name, ""))}]})

    def call_piece(self, arguments: str) -> dict[str, object]:
        """Return a chunk of a call's arguments."""
        function = {"arguments": arguments}
        return self._chunk({"tool_calls": [{"index": 0, "function": function}]})

    def ended(self, answer: Finished) -> dict[str, object]:
        """Return the chunk that says why it ended."""
        return self._chunk({}, finish_reason=answer.finish_reason, backend=answer.backend)

    def usage(self, usage: Usage) -> dict[str, object]:
        """Return the chunk without choices that follows when usage is wanted."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_record(usage)}

    def _call(self, call: ToolCall) -> dict[str, object]:
        function = {"name": call.name, "arguments": call.arguments}
        # There is one call at most, so that the answer's own id will do.
        call_id = f"call_{self.id.rpartition('-')[2]}"
        return {"id": call_id, "type": "function", "function": function}

    def _chunk(
        self,
        delta: dict[str, object],
        *,
        finish_reason: str | None = None,
        backend: str | None = None,
    ) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.shows_usage else {}
        return {**self._head("chat.completion.chunk", backend), "choices": [choice], **usage}

    def _head(self, kind: str, backend: str | None = None) -> dict[str, object]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head if backend is None else {**head, "system_fingerprint": backend}


def usage_record(usage: Usage) -> dict[str, int]:
    """Return the tokens that an answer cost."""
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def model_record(model: OfferedModel) -> dict[str, object]:
    """Return a model; nobody knows when it was created, and `kind` is ours."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "clawdbot",
        "kind": model.kind,
    }
