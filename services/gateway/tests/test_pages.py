from __future__ import annotations

import re

from clawdbot.gateway.adapters.pages import load_pages


async def test_the_page_and_its_files_are_served_with_their_types(client) -> None:
    types = {
        path: (await client.get(path)).headers["content-type"]
        for path in ("/", "/chat.js", "/chat.css", "/icon.svg")
    }

    assert types == {
        "/": "text/html; charset=utf-8",
        "/chat.js": "text/javascript; charset=utf-8",
        "/chat.css": "text/css; charset=utf-8",
        "/icon.svg": "image/svg+xml",
    }


async def test_a_browser_that_has_a_file_is_told_so(client) -> None:
    tag = (await client.get("/chat.js")).headers["etag"]

    answer = await client.get("/chat.js", headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content) == (304, b"")


def test_the_page_has_nothing_that_its_policy_forbids() -> None:
    page = load_pages()["/"].content.decode()

    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)


def test_the_script_sets_text_only_as_text() -> None:
    script = load_pages()["/chat.js"].content.decode()

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_a_link_asks_before_its_token_takes_the_place_of_another() -> None:
    script = load_pages()["/chat.js"].content.decode()
    taking = script.split("takeFromAddress() {")[1].split("\n  },")[0]
    setting = script.split("\n  set(value) {")[1].split("\n  },")[0]

    assert 'if (this.get() === "") this.set(given);' in taking
    assert taking.count("this.set(") == 1
    assert "askForToken(given)" in taking
    assert "before !== this.get()) beginAnew()" in setting


def test_every_phrase_is_there_in_both_languages() -> None:
    script = load_pages()["/chat.js"].content.decode()
    english, chinese = script.split("\n  zh: {")
    names = [
        re.findall(r"^    (\w+):", half.split("\n  },")[0], re.M) for half in (english, chinese)
    ]
    used = set(re.findall(r'data-i18n="(\w+)"', load_pages()["/"].content.decode()))

    assert names[0] == names[1]
    assert used <= set(names[0])
