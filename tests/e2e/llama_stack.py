"""What the tests of Llama Stack's three clients share."""

from llama_stack_client import LlamaStackClient

TEACHER = "conclave-teacher"
SUM = [{"role": "user", "content": "What is 21 + 13?"}]
WEATHER = {
    "tool_name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": {"city": {"param_type": "string", "description": "The city", "required": True}},
}


def client_of(mesh):
    return LlamaStackClient(base_url=mesh.url, max_retries=0, timeout=60)


def counts(tag, n):
    """The scripted model's answer to a message that ends with `tag` (mode "counts")."""
    return " ".join(f"{tag}:{i}" for i in range(n))
