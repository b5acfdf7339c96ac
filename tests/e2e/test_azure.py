"""The same package's client for Azure, whose paths name the model, and its newer paths, which do not."""

import openai
import pytest
import requests

from mesh import SCRIPTED_MODEL, counts

SUM = [{"role": "user", "content": "What is 21 + 13?"}]
VERSION = "2024-10-21"
TOOL = {"type": "function", "function": {
    "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}


def user(content):
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def azure(mesh, checked_transport):
    import httpx2

    return openai.AzureOpenAI(
        azure_endpoint=mesh.url, api_version=VERSION, api_key="none", max_retries=0, timeout=60,
        http_client=httpx2.Client(transport=checked_transport))


def test_chat_whole_and_streamed(azure, teacher):
    whole = azure.chat.completions.create(model=teacher, messages=SUM, temperature=0)
    assert whole.choices[0].message.content == "21 + 13 = 34" and whole.model == teacher
    chunks = list(azure.chat.completions.create(
        model=SCRIPTED_MODEL, messages=user("count az"), stream=True,
        stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == counts("az", 40)
    assert chunks[-1].usage.completion_tokens > 0


def test_a_deployment_goes_before_the_model(mesh, teacher):
    client = openai.AzureOpenAI(azure_endpoint=mesh.url, azure_deployment=teacher,
                                api_version=VERSION, azure_ad_token="none", max_retries=0)
    reply = client.chat.completions.create(model="gpt-4o", messages=SUM, temperature=0)
    assert reply.choices[0].message.content == "21 + 13 = 34" and reply.model == teacher


def test_a_body_needs_no_model(mesh, teacher):
    reply = requests.post(
        f"{mesh.url}/openai/deployments/{teacher}/chat/completions?api-version={VERSION}",
        headers={"api-key": "none"}, json={"messages": SUM, "temperature": 0}, timeout=60)
    assert reply.json()["choices"][0]["message"]["content"] == "21 + 13 = 34"


def test_tools_loop(azure):
    messages = user("call-weather")
    call = azure.chat.completions.create(model=SCRIPTED_MODEL, messages=messages, tools=[TOOL])
    message = call.choices[0].message
    assert message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id,
                           "content": "sunny"}]
    answer = azure.chat.completions.create(model=SCRIPTED_MODEL, messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content == "It is sunny in Paris."


def test_completions_and_embeddings(azure, teacher, embedding_model):
    completion = azure.completions.create(model=teacher, prompt="What is", max_tokens=5)
    assert completion.object == "text_completion" and completion.usage.completion_tokens <= 5
    vectors = azure.embeddings.create(
        model=embedding_model, input=["a", "b"], encoding_format="float").data
    assert [vector.index for vector in vectors] == [0, 1] and len(vectors[0].embedding) == 384


def test_models_and_assistants_lie_beside_the_deployments(azure, teacher):
    assert teacher in [model.id for model in azure.models.list()]
    with pytest.deprecated_call():
        assistant = azure.beta.assistants.create(model=teacher)
        assert azure.beta.assistants.delete(assistant.id).deleted


def test_errors_have_their_classes(azure):
    with pytest.raises(openai.NotFoundError) as unknown:
        azure.chat.completions.create(model="no-such-model", messages=SUM)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError) as unserved:
        azure.responses.create(model="x", input="x")
    assert unserved.value.status_code == 501


def test_the_newer_paths(mesh, teacher, checked_transport):
    import httpx2

    client = openai.OpenAI(base_url=mesh.url + "/openai/v1/", api_key="none", max_retries=0,
                           http_client=httpx2.Client(transport=checked_transport))
    reply = client.chat.completions.create(model=teacher, messages=SUM, temperature=0)
    assert reply.choices[0].message.content == "21 + 13 = 34"
