"""Which senders each way in lets in, from what is configured for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clawdbot.gateway.adapters.platforms.interface import Account
from clawdbot.gateway.domain.messages import API, OPENAI, WEBHOOK
from clawdbot.gateway.domain.senders import SenderPolicy, SenderRule
from clawdbot.schema.ids import Channel, Tenant


def sender_policies(
    accounts: Iterable[Account[Any]],
    *,
    webhook_tenant: Tenant,
    webhook_may_link: bool,
    api_may_link: bool,
) -> dict[Channel, SenderPolicy]:
    """Return the policy of every channel; on any other one nobody is let in.

    Tokens and the generic webhook's signature are given out by the operator: whoever has one was
    let in with it, and so are the users whom it speaks for: these are open by nature.
    """
    return {
        API: SenderPolicy(API, None, SenderRule.OPEN, may_link=api_may_link),
        OPENAI: SenderPolicy(OPENAI, None, SenderRule.OPEN),
        WEBHOOK: SenderPolicy(
            WEBHOOK,
            webhook_tenant,
            SenderRule.OPEN,
            may_link=webhook_may_link,
            has_many_platforms=True,
        ),
    } | {
        account.channel: SenderPolicy(
            account.platform, account.tenant, account.rule, account.allowed, account.may_link
        )
        for account in accounts
    }
