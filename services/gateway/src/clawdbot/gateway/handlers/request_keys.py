"""A request's own key: the first to claim it says what it stands for, until it is forgotten."""

from __future__ import annotations

from clawdbot.gateway.domain.idempotency import HEADER, ClaimedKey, KeyReused
from clawdbot.gateway.domain.messages import Envelope, RequestKey, Submission, framed
from clawdbot.gateway.ports.records import RecordStore
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import IdKey


class RequestKeys:
    """Gives every repetition of a request under a key the same message id; a `Screen`.

    The id is made of the key and its claim's revision: once the claim is forgotten, the key is
    free for another message. It comes after the screens that send away, so that nobody fills the
    bucket with requests that are not kept, and before whatever acts on a message by its id.
    """

    def __init__(self, claims: RecordStore[ClaimedKey], ids: IdKey) -> None:
        self._claims = claims
        self._ids = ids

    async def __call__(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline
    ) -> Envelope:
        """Return `envelope` under the id that its key stands for; without such a key, as it is.

        Raises:
            KeyReused: the key names a request with another body.
            Unavailable: the broker does not answer.
        """
        request = submission.request_key
        if request is None:
            return envelope
        holder = framed(submission.tenant, submission.channel, request.holder)
        place = self._ids.request(holder, request.key)
        revision = await self._claim(place, request, deadline)
        if not request.names_message:
            return envelope
        message = envelope.message
        event_id = framed("key", submission.tenant, place, str(revision))
        named = {"message_id": self._ids.message(message.channel, event_id)}
        return Envelope(message.model_copy(update=named), envelope.principal)

    async def _claim(self, place: str, request: RequestKey, deadline: Deadline) -> int:
        claim = ClaimedKey(body_sha256=request.body_sha256)
        revision = await self._claims.create(place, claim, deadline=deadline)
        if revision is not None:
            return revision
        claimed = await self._claims.get(place, deadline=deadline)
        if claimed is None:
            raise Unavailable("the key was forgotten just now; send the request once more")
        if claimed.value.body_sha256 != request.body_sha256:
            raise KeyReused(
                f"this {HEADER} already names a request with another body",
                field=HEADER,
                fix="use a new key for every request, and the same body with the same key",
            )
        return claimed.revision
