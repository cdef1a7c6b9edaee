from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from clawdbot.cli.addresses import (
    broker_port,
    gateway_url,
    ready_urls,
    require_free_ports,
    service_environment,
    with_ports,
)
from clawdbot.cli.failures import Failure
from clawdbot.runtime.config import Config, load_config
from clawdbot.runtime.config_sections import App, BusSettings, Ops

ANY = {"gateway": 0, "assistant": 0, "inference": 0, "memory": 0, "executor": 0}


def config(**sections: object) -> Config:
    return Config.model_validate(
        {"app": App(port=0), "ops": Ops.model_validate({"health_ports": ANY}), **sections}
    )


def test_zero_becomes_a_free_port_for_everybody() -> None:
    chosen = with_ports(config())

    urls = ready_urls(chosen)

    assert list(urls) == ["gateway", "assistant", "inference", "memory", "executor"]
    assert not any(":0/" in url for url in urls.values())


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ours = with_ports(config(bus=BusSettings(url=f"nats://127.0.0.1:{port}")))

        with pytest.raises(
            Failure, match=rf"127\.0\.0\.1:{port} \(bus\.url\): Address already in use$"
        ):
            require_free_ports(ours)


def test_a_broker_elsewhere_is_not_ours_to_start() -> None:
    with pytest.raises(Failure, match="runs a broker of its own"):
        broker_port(config(bus=BusSettings(url="nats://broker.example:4222")))


def test_services_are_told_the_ports_and_little_else() -> None:
    chosen = with_ports(config())
    environ = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "CLAWDBOT_BUS__REPLICAS": "1"}

    told = service_environment(chosen, Path("config.yaml"), environ)

    assert "AWS_SECRET_ACCESS_KEY" not in told
    assert (told["PATH"], told["CLAWDBOT_BUS__REPLICAS"]) == ("/bin", "1")
    assert told["CLAWDBOT_APP__PORT"] == str(chosen.app.port)
    assert json.loads(told["CLAWDBOT_OPS__HEALTH_PORTS"]) == chosen.ops.health_ports.model_dump()
    assert Path(told["CLAWDBOT_CONFIG"]).is_absolute()


def test_ports_told_by_environment_are_read_back_by_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"ops": {"health_ports": ANY}}))
    chosen = with_ports(load_config(path))
    for name, value in service_environment(chosen, path, {}).items():
        monkeypatch.setenv(name, value)

    assert load_config().ops.health_ports == chosen.ops.health_ports
    assert load_config().app.port == chosen.app.port


def test_each_gateway_worker_shows_its_health_on_a_port_of_its_own() -> None:
    chosen = config(
        gateway={"workers": 3}, app=App(port=8000), ops=Ops.model_validate({"health_ports": {}})
    )

    urls = ready_urls(chosen)

    assert [url for name, url in urls.items() if name.startswith("gateway")] == [
        "http://127.0.0.1:8010/readyz",
        "http://127.0.0.1:8110/readyz",
        "http://127.0.0.1:8210/readyz",
    ]


def test_a_gateway_with_a_certificate_is_reached_by_https() -> None:
    app = App(port=8443, tls_certificate=Path("chain.pem"), tls_key=Path("key.pem"))

    assert gateway_url(config(app=app)) == "https://127.0.0.1:8443"
