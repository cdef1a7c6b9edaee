"""What is said to whoever said something to the system itself, in their language."""

from __future__ import annotations

from clawdbot.assistant.domain.language import Language
from clawdbot.assistant.domain.wording import block, clause
from clawdbot.schema.controls import Control, ControlKind, ControlWord, said
from clawdbot.schema.errors import (
    ApprovalDenied,
    ApprovalExpired,
    Conflict,
    ErrorReply,
    Forbidden,
    NotFound,
)
from clawdbot.schema.executor import Approval, ApprovalState

_STATES = {
    Language.EN: {
        ApprovalState.PENDING: "This still waits for an answer.",
        ApprovalState.APPROVED: "Approved.",
        ApprovalState.DENIED: "Denied, nothing was run.",
        ApprovalState.EXPIRED: "This expired without an answer in time; nothing was run.",
        ApprovalState.USED: "This was approved before and has been run.",
    },
    Language.ZH: {
        ApprovalState.PENDING: "此操作仍在等待答复。",
        ApprovalState.APPROVED: "已批准。",
        ApprovalState.DENIED: "已拒绝，没有执行任何操作。",
        ApprovalState.EXPIRED: "未能及时答复，已过期，没有执行任何操作。",
        ApprovalState.USED: "此操作先前已批准并执行过。",
    },
}
_ERRORS = {
    Language.EN: {
        NotFound.code: "Nothing waits for an answer under the code {code}.",
        ApprovalExpired.code: _STATES[Language.EN][ApprovalState.EXPIRED],
        ApprovalDenied.code: "This was denied before; nothing was run.",
        Conflict.code: "This was approved before and cannot be denied any more.",
        Forbidden.code: "You cannot answer this: {message}.",
    },
    Language.ZH: {
        NotFound.code: "没有等待确认的操作使用确认码 {code}。",
        ApprovalExpired.code: _STATES[Language.ZH][ApprovalState.EXPIRED],
        ApprovalDenied.code: "此操作先前已被拒绝，没有执行任何操作。",
        Conflict.code: "此操作先前已批准，无法再拒绝。",
        Forbidden.code: "您不能答复此操作：{message}。",
    },
}
_NOT_DONE = {
    Language.EN: "This could not be done: {message}.",
    Language.ZH: "未能完成：{message}。",
}
_QUESTION = {
    Language.EN: (
        "This needs your confirmation before it is run:\n{plan}\n"
        "Answer within {seconds} s with\n{approve}\nor\n{deny}"
    ),
    Language.ZH: (
        "以下操作需要您确认后才会执行：\n{plan}\n请在 {seconds} 秒内回复\n{approve}\n或\n{deny}"
    ),
}
_STOPPED = {Language.EN: "Stopped.", Language.ZH: "已停止。"}
_STOPPED_MARK = {Language.EN: "(Stopped.)", Language.ZH: "（已停止）"}
_NOTHING_RAN = {
    Language.EN: "There was nothing to stop.",
    Language.ZH: "当前没有正在进行的任务。",
}
_PAIR = {
    Language.EN: (
        "We are not paired yet, so I cannot answer. Ask an administrator to run:\n"
        "clawdbot senders approve {code}"
    ),
    Language.ZH: "尚未配对，我还不能回答您。请管理员运行：\nclawdbot senders approve {code}",
}


def decided(control: Control, language: Language) -> str:
    """Return what came of a control word whose work is done with these words."""
    if control.kind is ControlKind.PAIR:
        return _PAIR[language].format(code=control.code)
    if control.error is not None:
        return _refused(control.error, control.code, language)
    if control.approval is not None:
        return _STATES[language][control.approval.state]
    return _STOPPED[language]


def question(approval: Approval, now_ms: int, language: Language) -> str:
    """Return the question about a plan, with the words that answer it."""
    in_chinese = language is Language.ZH
    return _QUESTION[language].format(
        plan=block(approval.rendered),
        seconds=max(0, approval.expires_at_ms - now_ms) // 1000,
        approve=said(ControlWord(ControlKind.APPROVE, approval.code), in_chinese=in_chinese),
        deny=said(ControlWord(ControlKind.DENY, approval.code), in_chinese=in_chinese),
    )


def stopped(language: Language, partial: str = "") -> str:
    """Return what a stopped turn ends with: what was written until then, and that it ended."""
    text = partial.strip()
    return f"{text}\n\n{_STOPPED_MARK[language]}" if text else _STOPPED[language]


def nothing_ran(language: Language) -> str:
    """Return what is said when a stop found nothing to stop."""
    return _NOTHING_RAN[language]


def _refused(error: ErrorReply, code: str, language: Language) -> str:
    template = _ERRORS[language].get(error.code, _NOT_DONE[language])
    return template.format(code=code, message=clause(error.message))
