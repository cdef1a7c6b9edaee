"""What of a message is worth remembering: a first, honest rule that a person can predict.

A message that says something is kept whole. One that only asks, commands or greets is not. Whoever
wants to be sure says so: "remember that …", "记住…". No model is asked, and the text is the
user's own: nothing that was recalled or answered can become a memory this way.
"""

from __future__ import annotations

import re

_SENTENCES = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？；])|\n+")
_LEAD_EN = (
    r"^(?:(?:please|pls|hey|hi|hello|ok|okay|and|but|so|now|then|just|also|clawdbot)\b[\s,]*)*"
)
_LEAD_ZH = r"^(?:请|麻烦|那么|那|你|您|帮我|一定|要|先|再|，|,|\s)*+"

_EXPLICIT_EN = re.compile(
    _LEAD_EN
    + r"(?:(?:can|could|will|would)\s+you\s+(?:please\s+)?)?"
    + r"(?:remember|memori[sz]e|keep\s+in\s+mind|note|(?:don't|do\s+not|never)\s+forget)"
    + r"(?:\s+(?:that|this)\b|\s*[:,])[\s:,]*\w"
)
_IMPLICIT_EN = re.compile(
    _LEAD_EN
    + r"(?:remember|memori[sz]e|keep\s+in\s+mind|(?:don't|do\s+not|never)\s+forget)"
    + r"\s+(?!when\b|how\b|what\b|who\b|where\b|why\b|me\b)\w"
)
_EXPLICIT_ZH = re.compile(
    _LEAD_ZH + r"(?:记住|记下|记一下|记得|别忘了|别忘记|不要忘了|不要忘记)[\s：:，,]*+\w"
)

_ASKS = re.compile(r"[?？][\s\"'”)）]*$")
_ASKS_EN = re.compile(
    _LEAD_EN
    + r"(?:(?:what|who|whom|whose|why|which|how|where)(?:'s)?\b"
    + r"|when\s+(?:is|are|was|were|do|does|did|will|can|could|should|would|has|have)\b"
    + r"|(?:is|are|was|were|am|do|does|did|can|could|would|should|shall|isn't|aren't)\b"
    + r"|(?:will|may|might|have|has|had|must)\s+(?:i|you|we|they|he|she|it|there|my|your|the)\b"
    + r"|i\s+(?:want\s+to|would\s+like\s+to|wanna|need\s+to)\s+know\b|i\s+wonder\b)"
)
_ASKS_ZH = re.compile(
    r"[吗呢么]\W*$|什么|啥|谁|哪|怎么|怎样|如何|为何|多少|多大|多久|几点|几岁|几号|几月"
    r"|是不是|有没有|能不能|可不可以|会不会|对不对|好不好|要不要|想知道"
)
_COMMANDS_EN = re.compile(
    _LEAD_EN
    + r"(?:tell|show|give|write|list|explain|help|make|create|translate|summari[sz]e|find|search"
    + r"|look|open|run|execute|download|upload|send|play|stop|start|set|delete|remove|forget|say"
    + r"|describe|compare|calculate|compute|repeat|read|let|let's|try|check|draw|generate"
    + r"|suggest|recommend|define|continue|don't|be|go|come|get|put|turn|remind|answer|think"
    + r"|i\s+(?:want|need|would\s+like)\s+you\s+to|i'd\s+like\s+you\s+to)\b"
)
_COMMANDS_ZH = re.compile(
    r"^(?:请|麻烦|帮|给我|替我|告诉|让我们|列出|列举|解释|说明一下|说说|讲讲|讲一|讲个|写一|写个|写首|写篇"
    r"|翻译|总结|概括|查一|查询|查找|查看|搜索|搜一|打开|关闭|运行|执行|下载|上传|发送|播放|停止|开始"
    r"|设置|删除|忘记|忘掉|忘了|描述|比较|计算|重复|继续|推荐|提醒我|看看|看一|试试|不要|别)"
)


def _phrases(*lines: str) -> frozenset[str]:
    return frozenset(phrase for line in lines for phrase in line.split("|"))


_CHAT = _phrases(
    "hi|hello|hey|hi there|hello there|good morning|good evening|good night|good afternoon|bye",
    "goodbye|see you|thanks|thank you|thank you very much|thanks a lot|many thanks|ok|okay|yes|no",
    "sure|great|nice|cool|good|well done|sorry|of course|all right|got it|i see|no problem",
    "你好|您好|你好啊|嗨|早|早上好|上午好|下午好|晚上好|晚安|再见|拜拜|谢谢|谢谢你|多谢|感谢|好|好的",
    "是|是的|对|对的|不|不是|不对|嗯|行|可以|没问题|知道了|明白|明白了|好吧|没事|没关系|对不起|抱歉",
)
_HAN = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"\w+")


def is_worth_remembering(content: str) -> bool:
    """Return whether `content` states something, or asks to be remembered."""
    text = content.strip()
    if not text or text.startswith("/"):
        return False
    # Phones write a curly apostrophe where keyboards write a straight one.
    low = text.casefold().replace("\u2019", "'")
    return _wants_to_be_kept(low) or any(map(_states, _SENTENCES.split(low)))


def _wants_to_be_kept(low: str) -> bool:
    if _EXPLICIT_EN.match(low):
        return True
    asks = bool(_ASKS.search(low) or re.search(r"[吗么]\W*$", low))
    return not asks and bool(_IMPLICIT_EN.match(low) or _EXPLICIT_ZH.match(low))


def _states(sentence: str) -> bool:
    bare = sentence.strip()
    if not _is_substantial(bare) or bare.strip(" .!,~。！，～…") in _CHAT:
        return False
    return not (_asks(bare) or _commands(bare))


def _is_substantial(sentence: str) -> bool:
    """Return whether there are two words, or three Chinese characters: less is an answer."""
    return len(_WORD.findall(sentence)) >= 2 or len(_HAN.findall(sentence)) >= 3


def _asks(sentence: str) -> bool:
    patterns = (_ASKS.search, _ASKS_EN.match, _ASKS_ZH.search)
    return any(found(sentence) for found in patterns)


def _commands(sentence: str) -> bool:
    return bool(_COMMANDS_EN.match(sentence) or _COMMANDS_ZH.match(sentence))
