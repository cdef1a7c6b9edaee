"""What the sandbox measures; labels name no user."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

jobs_running = Gauge("clawdbot_executor_jobs_running", "Jobs that are being run")
jobs = Counter("clawdbot_executor_jobs_total", "Jobs that ended", ["instruction", "outcome"])
job_seconds = Histogram(
    "clawdbot_executor_job_duration_seconds",
    "From start to the death of the last process",
    ["instruction"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
