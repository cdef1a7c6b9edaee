"""How often the chat model uses what memory recalled: asks a running stack, prints the rate.

Each of 20 people tells a fact and two other things, then asks for the fact in a new conversation.
"Recalled" means that the fact stood in the prompt, "used" that its key word stands in the answer.

Run it in the folder of a running `make run`: `.venv/bin/python -m scripts.recall_use`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from clawdbot.cli.addresses import gateway_url
from clawdbot.cli.tokens import Signer
from clawdbot.runtime.config import Config, load_config
from clawdbot.runtime.secrets import Secrets

FACTS = (
    ("My dog is called Biscuit.", "What is my dog called?", "biscuit"),
    ("My favourite colour is teal.", "What is my favourite colour?", "teal"),
    ("I live in Lisbon.", "Which city do I live in?", "lisbon"),
    ("My sister is a dentist.", "What does my sister do for a living?", "dentist"),
    ("I am allergic to peanuts.", "What am I allergic to?", "peanut"),
    ("My car is a red Volvo.", "What car do I have?", "volvo"),
    ("Our release day is Thursday.", "When is our release day?", "thursday"),
    ("My birthday is on March 5.", "When is my birthday?", "march"),
    ("I work as a carpenter.", "What is my job?", "carpenter"),
    ("My wife's name is Elena.", "What is my wife's name?", "elena"),
    ("I play the cello.", "Which instrument do I play?", "cello"),
    ("My flight leaves at 9 in the morning.", "At what time does my flight leave?", "9"),
    ("My favourite book is Dune.", "What is my favourite book?", "dune"),
    ("I drink oat milk in my coffee.", "What milk do I take in my coffee?", "oat"),
    ("My son goes to Riverside School.", "Which school does my son go to?", "riverside"),
    ("My server runs Debian.", "What does my server run?", "debian"),
    ("I am training for a marathon in Berlin.", "Where is my marathon?", "berlin"),
    ("The wifi password hint is pineapple.", "What is the wifi password hint?", "pineapple"),
    ("My boss is called Mr. Okafor.", "What is my boss called?", "okafor"),
    ("I speak Welsh at home.", "Which language do I speak at home?", "welsh"),
)
BESIDE = ("The weather was grey yesterday.", "I had soup for lunch.")


@dataclass(frozen=True)
class Asker:
    """Talks to a running gateway as people that nobody has met."""

    http: httpx.Client
    config: Config

    def outcome(self, fact: str, question: str, word: str) -> tuple[bool, bool]:
        """Return whether the fact was recalled, and whether the answer used it."""
        signer = Signer.of(self.config, Secrets.of(self.config))
        headers = {"Authorization": f"Bearer {signer.issue(user=uuid4().hex).text}"}
        for told in (fact, *BESIDE):
            self._say(told, "telling", headers)
        answer = self._say(question, "asking", headers)
        recalled = any(fact == found["content"] for found in answer["metadata"]["recalled"])
        return recalled, word in answer["content"].lower()

    def _say(self, content: str, conversation: str, headers: dict[str, str]) -> dict[str, Any]:
        body = {"content": content, "conversation_id": conversation}
        answer = self.http.post("/api/chat", json=body, headers=headers).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def main() -> None:
    """Print the rate over all facts."""
    config = load_config()
    with httpx.Client(base_url=gateway_url(config), timeout=120, trust_env=False) as http:
        asker = Asker(http, config)
        outcomes = [asker.outcome(*fact) for fact in FACTS]
    recalled, used = (sum(found) for found in zip(*outcomes, strict=True))
    print(f"of {len(FACTS)} facts, {recalled} were recalled and {used} used in the answer")


if __name__ == "__main__":
    main()
