"""Each platform's files, from a double of its API and file host to their bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from clawdbot.gateway.adapters.guarded_http import GuardedHTTP
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses, packed
from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.files import PlatformFiles
from clawdbot.runtime.egress import EgressGuard, EgressRefused
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Forbidden, InvalidMessage, NotFound, Rejected
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, InboundMessage
from services.gateway.tests.file_host import FileHost, answer, file_host
from services.gateway.tests.platforms.samples import account_of

ADDRESSES = SealedAddresses(b"k" * 32)
FEISHU_TOKEN = "/open-apis/auth/v3/tenant_access_token/internal"


def as_json(value: object, status: str = "200 OK") -> bytes:
    return answer(json.dumps(value).encode(), status, Content_Type="application/json")


@pytest.fixture
async def host() -> AsyncIterator[FileHost]:
    async with file_host() as running:
        yield running


class Platform:
    """One account whose API and files are on `host`."""

    def __init__(self, name: str, host: FileHost, folder: Path) -> None:
        module = import_module(f"services.gateway.tests.platforms.{name}")
        settings = {**module.SAMPLES.settings, "api_base": host.url}
        self.samples = replace(module.SAMPLES, settings=settings)
        self.account = account_of(self.samples, folder)
        self.host = host

    async def read(self, attachment: Attachment, **address: object) -> tuple[str, bytes]:
        message = InboundMessage(
            platform=self.samples.platform,
            sender_id="1",
            content="",
            timestamp=1,
            attachments=(attachment,),
            message_id=MessageId("m"),
            tenant=Tenant("default"),
            conversation_id=ConversationId("c"),
            channel=self.account.channel,
            reply_to=packed(address),
            accepted_at_ms=1,
            deadline_ms=1,
        )
        module = import_module(f"clawdbot.gateway.adapters.platforms.{self.samples.platform}")
        async with httpx.AsyncClient(trust_env=False) as client:
            adapter = module.PLATFORM.build(self.account, client)
            http = GuardedHTTP(EgressGuard())
            files = PlatformFiles(http, [Connection(self.account, adapter)], ADDRESSES)
            deadline = Deadline.after(5)
            async with files.open(message, 0, max_bytes=1000, deadline=deadline) as file:
                async with aclosing(file.content) as content:
                    return file.media_type, b"".join([chunk async for chunk in content])


@pytest.fixture
def platform(host: FileHost, tmp_path: Path, request: pytest.FixtureRequest) -> Platform:
    return Platform(request.param, host, tmp_path)


telegram = pytest.mark.parametrize("platform", ["telegram"], indirect=True)
slack = pytest.mark.parametrize("platform", ["slack"], indirect=True)
discord = pytest.mark.parametrize("platform", ["discord"], indirect=True)
feishu = pytest.mark.parametrize("platform", ["feishu"], indirect=True)
TELEGRAM = Attachment(type="file", url="telegram:BQACAg", name="a.txt")
SLACK = Attachment(type="file", url="slack:F123", name="a.txt")
FEISHU = Attachment(type="file", url="feishu:file_v2_x", name="a.txt")


@telegram
async def test_telegram_is_asked_for_the_path(platform: Platform, caplog) -> None:
    token = platform.account.keys["bot_token"].text
    found = {"ok": True, "result": {"file_id": "BQACAg", "file_path": "documents/file_1.txt"}}
    platform.host.answers[f"/bot{token}/getFile"] = as_json(found)
    platform.host.answers[f"/file/bot{token}/documents/file_1.txt"] = answer(b"hello")

    with caplog.at_level(logging.DEBUG, logger="clawdbot"):
        got = await platform.read(TELEGRAM)

    assert got == ("", b"hello")
    assert token not in caplog.text


@telegram
@pytest.mark.parametrize(
    "path", ["/var/lib/a", "../a", "a/../b", "a?b", "a b", "", "http://x", None, 7]
)
async def test_a_path_that_is_none_is_not_fetched(platform: Platform, path: object) -> None:
    token = platform.account.keys["bot_token"].text
    found = {"ok": True, "result": {"file_path": path}}
    platform.host.answers[f"/bot{token}/getFile"] = as_json(found)

    with pytest.raises(Rejected):
        await platform.read(TELEGRAM)

    assert len(platform.host.requests) == 1


@telegram
async def test_a_file_too_big_for_bots_is_refused(platform: Platform) -> None:
    token = platform.account.keys["bot_token"].text
    refused = {"ok": False, "error_code": 400, "description": "Bad Request: file is too big"}
    platform.host.answers[f"/bot{token}/getFile"] = as_json(refused, "400 Bad Request")

    with pytest.raises(Rejected):
        await platform.read(TELEGRAM)


@slack
async def test_slack_is_asked_with_the_bots_token(platform: Platform) -> None:
    url = f"{platform.host.url}/files-pri/T1-F123/download/a.txt"
    found = {"ok": True, "file": {"id": "F123", "url_private_download": url}}
    platform.host.answers["/files.info"] = as_json(found)
    platform.host.answers["/files-pri/T1-F123/download/a.txt"] = answer(b"hello")

    got = await platform.read(SLACK)

    assert got[1] == b"hello"
    token = f"Bearer {platform.account.keys['bot_token'].text}"
    assert [headers["authorization"] for _, headers in platform.host.requests] == [token, token]


@slack
@pytest.mark.parametrize(
    "url",
    [
        "https://docs.google.com/document/d/1",
        "https://files.slack.com.evil.example.com/a",
        "http://169.254.169.254/",
        "http://127.0.0.1:1/a",
        "http://files.slack.com/a",
    ],
)
async def test_slacks_token_goes_nowhere_else(platform: Platform, url: str) -> None:
    platform.host.answers["/files.info"] = as_json({"ok": True, "file": {"url_private": url}})

    with pytest.raises(EgressRefused):
        await platform.read(SLACK)

    assert len(platform.host.requests) == 1


@slack
async def test_slacks_login_page_is_no_file(platform: Platform) -> None:
    found = {"ok": True, "file": {"url_private": f"{platform.host.url}/a"}}
    platform.host.answers["/files.info"] = as_json(found)
    login = "https://example.slack.com/?redir=%2Ffiles"
    platform.host.answers["/a"] = answer(status="302 Found", Location=login)

    with pytest.raises(EgressRefused):
        await platform.read(SLACK)


@slack
async def test_a_missing_scope_is_told_by_slack(platform: Platform) -> None:
    platform.host.answers["/files.info"] = as_json({"ok": False, "error": "missing_scope"})

    with pytest.raises(ClawdbotError):
        await platform.read(SLACK)


@discord
async def test_discords_address_is_enough(platform: Platform) -> None:
    platform.host.answers["/attachments/1/2/a.txt?ex=1&hm=2"] = answer(
        b"hello", Content_Type="text/plain; charset=utf-8"
    )
    url = f"{platform.host.url}/attachments/1/2/a.txt?ex=1&hm=2"

    got = await platform.read(Attachment(type="file", url=url))

    assert got == ("text/plain", b"hello")
    assert "authorization" not in platform.host.requests[0][1]


@discord
@pytest.mark.parametrize(
    ("status", "error"), [("404 X", NotFound), ("403 X", Forbidden), ("400 X", Rejected)]
)
async def test_an_address_of_discords_that_expired(
    platform: Platform, status: str, error: type[ClawdbotError]
) -> None:
    platform.host.answers["/a"] = answer(status=status)

    with pytest.raises(error):
        await platform.read(Attachment(type="file", url=f"{platform.host.url}/a"))


@discord
async def test_a_file_elsewhere_is_none_of_discords(platform: Platform) -> None:
    with pytest.raises(EgressRefused):
        await platform.read(Attachment(type="file", url="https://example.com/a"))


@feishu
@pytest.mark.parametrize(
    ("kind", "asked"), [("image", "image"), ("file", "file"), ("video", "file")]
)
async def test_feishu_is_asked_with_the_apps_token(
    platform: Platform, kind: str, asked: str
) -> None:
    token = {"code": 0, "tenant_access_token": "t-g1", "expire": 7200}
    platform.host.answers[FEISHU_TOKEN] = as_json(token)
    path = f"/open-apis/im/v1/messages/om_1/resources/file_v2_x?type={asked}"
    platform.host.answers[path] = answer(b"hello")

    got = await platform.read(FEISHU.model_copy(update={"type": kind}), message_id="om_1")

    assert got[1] == b"hello"
    assert platform.host.requests[-1][1]["authorization"] == "Bearer t-g1"


@pytest.mark.parametrize("url", ["telegram:x", "slack:F1", "", "file:///etc/passwd", "data:,x"])
async def test_a_channel_without_such_files_says_so(url: str) -> None:
    message = InboundMessage(
        platform="webhook",
        sender_id="1",
        content="",
        timestamp=1,
        attachments=(Attachment(type="file", url=url),),
        message_id=MessageId("m"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        channel=Channel("webhook"),
        accepted_at_ms=1,
        deadline_ms=1,
    )
    files = PlatformFiles(GuardedHTTP(EgressGuard()), [], ADDRESSES)

    with pytest.raises(InvalidMessage):
        async with files.open(message, 0, max_bytes=1, deadline=Deadline.after(1)):
            pass
