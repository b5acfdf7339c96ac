"""/openapi.json against the specification of OpenAPI 3.1, /v1/capabilities against the routes."""

import requests
from openapi_spec_validator import OpenAPIV31SpecValidator


def test_the_document_is_openapi_3_1(mesh):
    document = requests.get(mesh.url + "/openapi.json", timeout=30).json()
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_what_it_promises_to_answer_is_answered(mesh):
    """No path of the document is unknown to the server, and no method of one is refused as such."""
    document = requests.get(mesh.url + "/openapi.json", timeout=30).json()
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in ("/metrics",) or method == "delete":
                continue
            url = mesh.url + path.replace("{", "").replace("}", "")
            body = operation.get("requestBody")
            example = body["content"]["application/json"]["example"] if body else None
            reply = requests.request(method, url, json=example, timeout=60, stream=True)
            assert reply.status_code != 405, (method, path)
            if reply.status_code == 404:
                assert "unknown path" not in reply.text, (method, path)
            reply.close()
            asked += 1
    assert asked > 80


def test_every_row_of_openais_own_description_is_in_the_tables(mesh):
    """What OpenAI's clients may send is honoured, refused or ignored by name, never by accident."""
    import openai_schema

    schemas = openai_schema.document()["components"]["schemas"]
    if "CreateChatCompletionRequest" not in schemas:
        return  # the short description of ours has no requests

    def fields(schema):
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        names = set(schema.get("properties", {}))
        for part in schema.get("allOf", []) + schema.get("anyOf", []) + schema.get("oneOf", []):
            names |= fields(part)
        return names

    capabilities = requests.get(mesh.url + "/v1/capabilities", timeout=30).json()
    rows = {
        (endpoint["method"], endpoint["path"]):
            {row["name"].split("[")[0].split(".")[0].split(" ")[0]
             for row in endpoint["parameters"]}
        for dialect in capabilities["dialects"] for endpoint in dialect["endpoints"]}
    for path, name in {
        "/v1/chat/completions": "CreateChatCompletionRequest",
        "/v1/completions": "CreateCompletionRequest",
        "/v1/embeddings": "CreateEmbeddingRequest",
        "/v1/assistants": "CreateAssistantRequest",
        "/v1/threads": "CreateThreadRequest",
        "/v1/threads/{thread}/messages": "CreateMessageRequest",
        "/v1/threads/{thread}/runs": "CreateRunRequest",
        "/v1/threads/runs": "CreateThreadAndRunRequest",
    }.items():
        missing = fields({"$ref": "#/components/schemas/" + name}) - rows["POST", path]
        assert not missing, (path, missing)
