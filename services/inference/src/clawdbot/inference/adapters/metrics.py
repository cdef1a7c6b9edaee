"""What this service measures; labels name models, never people."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PREFIX = "clawdbot_inference_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
RATIOS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.5, 2.0, 3.0)

queue_depth = Gauge(f"{PREFIX}queue_depth", "Requests that wait for a model", ["model"])
queue_seconds = Histogram(
    f"{PREFIX}queue_seconds", "From arrival to the first run", ["model"], buckets=SECONDS
)
batch_size = Histogram(f"{PREFIX}batch_size", "Rows of one run", ["model"], buckets=ROWS)
batch_tokens = Histogram(
    f"{PREFIX}batch_tokens", "Tokens of one run, padding included", ["model"], buckets=TOKENS
)
padding_ratio = Histogram(
    f"{PREFIX}padding_ratio", "Padded tokens over real ones, per run", ["model"], buckets=RATIOS
)
first_token_seconds = Histogram(
    f"{PREFIX}first_token_seconds", "From arrival to the first token", ["model"], buckets=SECONDS
)
tokens_total = Counter(
    f"{PREFIX}tokens_total", "Tokens read (prompt) and written (completion)", ["model", "kind"]
)
rejected_total = Counter(f"{PREFIX}rejected_total", "Requests turned away", ["model", "reason"])
cancelled_total = Counter(
    f"{PREFIX}cancelled_total", "Requests whose caller left before the end", ["model"]
)
requests_total = Counter(
    f"{PREFIX}requests_total", "Requests, by error code or `ok`", ["model", "verb", "outcome"]
)
model_ready = Gauge(f"{PREFIX}model_ready", "1 while the model can answer", ["model"])
model_provider = Gauge(
    f"{PREFIX}model_provider", "1 for the execution provider in use", ["model", "provider"]
)
