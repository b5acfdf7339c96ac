"""The clients under test speak to the mesh and to nobody else: no telemetry, no tracing, no table or
model from the network. The switches are set before a client is imported; a connection that is tried
all the same is refused and fails the test that made it."""

import ipaddress
import os
import sys

SWITCHES = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}

attempts = []


def is_local(host):
    if host in (None, "", b"", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def refuse_connections_elsewhere(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_local(host):
        attempts.append(f"{event} {host}")
        raise OSError(f"a test tried to reach {host}")


def enforce():
    os.environ.update(SWITCHES)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    sys.addaudithook(refuse_connections_elsewhere)
