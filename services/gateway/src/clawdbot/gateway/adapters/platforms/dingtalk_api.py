"""Calls to DingTalk: the session of a message while it lasts, else the robot API.

- A session is an address that takes answers for about an hour and a half, and tells errors by
  `errcode` under 200; a robot may send 20 messages a minute to a group.
- The robot API takes a token that lasts two hours; who asks again gets the same one. Its errors
  are 4xx and 5xx with a `code` in words. `msgParam` may have 15,000 bytes.

Source: DingTalk open platform, "Robots reply to messages", "Send messages to one person in
batches", "Robots send messages to groups", "Get the access token of an internal app", "Download
files that robots receive", "Global error codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from clawdbot.gateway.adapters.http_errors import retry_after_s
from clawdbot.gateway.adapters.platforms.access_tokens import AccessToken, AccessTokens, StaleToken
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.dingtalk_messages import SESSION_PATH
from clawdbot.gateway.adapters.platforms.errcodes import ErrCodes
from clawdbot.gateway.domain.deliveries import AnswerLost
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected

WHO = "dingtalk"
TOKEN_PATH = "/v1.0/oauth2/accessToken"  # noqa: S105 -- a path
ALONE_PATH = "/v1.0/robot/oToMessages/batchSend"
GROUP_PATH = "/v1.0/robot/groupMessages/send"
FILES_PATH = "/v1.0/robot/messageFiles/download"
EARLY_S = 300.0
BUSY_S = 60.0
DEFAULT_WAIT_S = 1.0
SESSION_CODES = ErrCodes(WHO, waits_s={130101: BUSY_S, 410100: BUSY_S, 90030: BUSY_S, 90018: 1.0})
_BUSY_WORDS = ("qpslimit", "throttling", "flowcontrol", "toomanyrequests")


class Sessions:
    """Answers messages where they were said.

    Args:
        client: without redirects.
        base_url: such as `https://oapi.dingtalk.com`.
    """

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        self._api = PlatformAPI(client, WHO, base_url, SESSION_CODES.judge)

    async def send(self, session: str, text: str, *, deadline: Deadline) -> None:
        """Send `text`.

        Raises:
            ClawdbotError: as `PlatformAPI.call`; Rejected also when the session is over.
        """
        path = f"{SESSION_PATH}?{urlencode({'session': session})}"
        body = {"msgtype": "text", "text": {"content": text}}
        await self._api.call(APIRequest.of_json(path, body), deadline=deadline)


class RobotAPI:
    """Calls the robot API as one app.

    Args:
        client: without redirects.
        base_url: such as `https://api.dingtalk.com`.
        credentials: app key and app secret.
        robot_code: names the robot of the app.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        credentials: tuple[str, str],
        robot_code: str,
    ) -> None:
        self._api = PlatformAPI(client, WHO, base_url, judge)
        self._tokens = AccessTokens(self._fetched_token, EARLY_S)
        self._app_key, self._app_secret = credentials
        self._robot_code = robot_code

    async def send(
        self, conversation: str, staff: str, text: str, *, deadline: Deadline
    ) -> str | None:
        """Send `text` to the group `conversation`, or to `staff` when that is ""; return its id.

        Raises:
            ClawdbotError: as `PlatformAPI.call`.
        """
        message = {"msgKey": "sampleText", "msgParam": _json({"content": text})}
        if conversation:
            to: dict[str, object] = {"openConversationId": conversation}
        elif staff:
            to = {"userIds": [staff]}
        else:
            raise Rejected("dingtalk did not tell which member wrote")
        path = GROUP_PATH if conversation else ALONE_PATH
        data = await self._call(path, {**to, **message}, deadline)
        if data.get("invalidStaffIdList"):
            raise Rejected("dingtalk does not know the member")
        if data.get("flowControlledStaffIdList"):
            raise Overloaded("dingtalk asks to wait", retry_after_s=BUSY_S)
        sent_id = data.get("processQueryKey")
        return sent_id if isinstance(sent_id, str) else None

    async def file_url(self, download_code: str, *, deadline: Deadline) -> str:
        """Return where a file of a message is for some time.

        Raises:
            ClawdbotError: as `PlatformAPI.call`.
        """
        data = await self._call(FILES_PATH, {"downloadCode": download_code}, deadline)
        url = data.get("downloadUrl")
        if not isinstance(url, str) or not url:
            raise Rejected("dingtalk does not have the file any more")
        return url

    async def _call(
        self, path: str, body: Mapping[str, object], deadline: Deadline
    ) -> Mapping[str, Any]:
        said = {**body, "robotCode": self._robot_code}

        async def call(token: str) -> Mapping[str, Any]:
            headers = {"x-acs-dingtalk-access-token": token}
            request = APIRequest.of_json(path, said, headers)
            return (await self._api.call(request, deadline=deadline)).data

        return await self._tokens.used(call, deadline=deadline)

    async def _fetched_token(self, deadline: Deadline) -> AccessToken:
        body = {"appKey": self._app_key, "appSecret": self._app_secret}
        request = APIRequest.of_json(TOKEN_PATH, body)
        data = (await self._api.call(request, deadline=deadline)).data
        return AccessToken.read(WHO, data.get("accessToken"), data.get("expireIn"))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error that the robot API's `code` stands for; a `Judge`."""
    if httpx.codes.is_success(answer.status):
        # Something between us and DingTalk answered: nobody knows what was done.
        return None if answer.data else AnswerLost("dingtalk gave an answer without a result")
    code = str(answer.data.get("code", "")).lower()
    if any(word in code for word in _BUSY_WORDS):
        wait_s = retry_after_s(answer.headers.get("retry-after", "")) or DEFAULT_WAIT_S
        return Overloaded("dingtalk asks to wait", retry_after_s=wait_s)
    if code == "invalidauthentication" or answer.status == httpx.codes.UNAUTHORIZED:
        return StaleToken("dingtalk refused its token")
    return None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
