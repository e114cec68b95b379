"""docker-compose.yml as data: what each profile starts, and how each container is locked up."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.llm.engines.vllm.server import serve_command
from services.llm.settings import LlmSettings

ROOT = Path(__file__).parents[2]
DEFAULT = {"first-start", "postgres", "redis", "llm-api", "llm-worker", "ctr-api", "ctr-worker", "setup"}
COMPOSE = ROOT / "docker-compose.yml"


def variables(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def parsed(given: dict[str, str]) -> dict[str, Any]:
    """The compose file with ${NAME:-default} filled in."""
    text = COMPOSE.read_text(encoding="utf-8")
    filled = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], text)
    content: dict[str, Any] = yaml.safe_load(filled)
    return content


def active(content: dict[str, Any], profiles: set[str]) -> set[str]:
    services = content["services"].items()
    return {name for name, service in services if not (own := set(service.get("profiles", []))) or own & profiles}


SERVICES = parsed({})["services"]


def test_by_default_both_services_start_with_what_they_need() -> None:
    assert active(parsed({}), set()) == DEFAULT
    assert SERVICES["llm-worker"]["environment"]["LLACTR_LLM_ENGINE"] == "transformers"


def test_the_profile_gpu_swaps_vllm_in() -> None:
    given = variables(ROOT / "deploy" / "gpu.env")
    content = parsed(given)
    assert active(content, set(given["COMPOSE_PROFILES"].split(","))) == DEFAULT | {"vllm"}
    for name in ("llm-api", "llm-worker"):
        settings = content["services"][name]["environment"]
        assert settings["LLACTR_LLM_ENGINE"] == "vllm"
        assert settings["LLACTR_LLM_VLLM_URL"] == "http://vllm:8000"
    assert content["services"]["vllm"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert content["services"]["vllm"]["environment"]["LLM_ENGINE"] == "vllm"


def test_the_profile_observability_adds_prometheus_and_grafana() -> None:
    assert active(parsed({}), {"observability"}) == DEFAULT | {"prometheus", "grafana"}


def test_every_variable_is_in_the_list_of_them() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+):-", COMPOSE.read_text(encoding="utf-8")))
    known = variables(ROOT / "deploy" / "compose.env").keys() | variables(ROOT / "deploy" / "gpu.env").keys()
    known |= {"VLLM_MODEL", "VLLM_POOLING", "VLLM_MAX_MODEL_LEN"}  # commented out in gpu.env
    assert used <= known


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_locked_up(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) <= ({"CHOWN"} if name == "first-start" else set())
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] in ("unless-stopped", "on-failure")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"]
    assert not any("docker.sock" in volume for volume in service["volumes"])


def test_every_volume_is_declared_and_every_mounted_file_is_there() -> None:
    volumes = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    named = {volume for volume in volumes if not volume.startswith(".")}
    assert named == set(parsed({})["volumes"])
    assert all((ROOT / volume).exists() for volume in volumes - named if volume.startswith("./deploy"))


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|TOKEN", name):
                assert str(value).startswith("/run/llactr/keys/"), name


def test_vllm_is_started_as_the_service_would_start_it() -> None:
    told = SERVICES["vllm"]["environment"]
    script = (ROOT / "deploy" / "vllm.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    for name, value in told.items():
        script = script.replace(f"${name}", str(value))
    script = script.replace("${VLLM_DTYPE:-auto}", "auto").replace('\\"', "'").replace('"', "").replace("'", '"')
    [line] = [line for line in script.splitlines() if line.startswith("exec vllm serve")]
    ours = serve_command(LlmSettings(_env_file=None))
    own = {"--host", "--port"}
    flags = [word for word in ours[3:] if word not in own and word not in ("127.0.0.1", "8002")]
    assert line.split(" --")[1:], line
    for flag in flags:
        assert flag in line, f"deploy/vllm.sh lacks {flag}"
    given = set(re.findall(r"--[a-z-]+", line))
    assert given - own == {flag for flag in flags if flag.startswith("--")}
