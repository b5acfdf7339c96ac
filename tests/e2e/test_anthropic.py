"""The official anthropic package against the same mesh: messages, streams, tools, thinking, counts,
errors."""

import asyncio

import anthropic
import pytest

from mesh import SCRIPTED_MODEL, counts, wait_until

# A field of the wire that this release of the package does not name.
GREEDY = {"temperature": 0}
SUM = [{"role": "user", "content": "What is 21 + 13?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
}


def scripted(content, **extra):
    return {"model": SCRIPTED_MODEL, "max_tokens": 4096,
            "messages": [{"role": "user", "content": content}], **extra}


def test_create_answers_and_counts(anthropic_client, teacher):
    reply = anthropic_client.messages.create(
        model=teacher, max_tokens=64, messages=SUM, system="Answer briefly.", extra_body=GREEDY)
    assert reply.type == "message" and reply.role == "assistant" and reply.model == teacher
    assert reply.id.startswith("msg_") and reply._request_id.startswith("req_")
    assert [block.type for block in reply.content] == ["text"]
    assert "34" in reply.content[0].text
    assert reply.stop_reason == "end_turn" and reply.stop_sequence is None
    assert reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0


def test_stream_helper_gives_the_same_message(anthropic_client, teacher):
    request = {"model": teacher, "max_tokens": 64, "messages": SUM, "extra_body": GREEDY}
    whole = anthropic_client.messages.create(**request)
    with anthropic_client.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    assert text == whole.content[0].text == streamed.content[0].text
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens


def test_raw_events_come_in_order(anthropic_client):
    events = list(anthropic_client.messages.create(**scripted("count raw", stream=True)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[0].message.content == [] and events[0].message.usage.input_tokens > 0
    assert "".join(event.delta.text for event in events[2:-3]) == counts("raw", 40)
    assert events[-2].delta.stop_reason == "end_turn"


def test_stop_sequences_and_max_tokens_are_told(anthropic_client):
    stopped = anthropic_client.messages.create(**scripted("count x", stop_sequences=[" x:2"]))
    assert stopped.content[0].text == "x:0 x:1"
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == " x:2"
    cut = anthropic_client.messages.create(**scripted("count x", max_tokens=3))
    assert cut.content[0].text == "x:0" and cut.stop_reason == "max_tokens"
    assert cut.usage.output_tokens == 3


def test_tools_loop(anthropic_client):
    request = scripted("call-weather", tools=[WEATHER])
    reply = anthropic_client.messages.create(**request)
    assert reply.stop_reason == "tool_use"
    call = reply.content[-1]
    assert call.type == "tool_use" and call.id.startswith("toolu_")
    assert call.name == "get_weather" and call.input == {"city": "Paris"}
    request["messages"] += [
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    answer = anthropic_client.messages.create(**request)
    assert answer.content[0].text == "It is sunny in Paris."
    assert answer.stop_reason == "end_turn"


def test_tool_input_is_streamed_in_fragments(anthropic_client):
    with anthropic_client.messages.stream(**scripted("call-weather", tools=[WEATHER])) as stream:
        fragments = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert len(fragments) > 1
    assert "".join(fragments) == '{"city":"Paris"}'
    assert message.content[0].input == {"city": "Paris"}
    assert message.stop_reason == "tool_use"


def test_the_tool_runner_of_the_sdk_runs_to_the_answer(anthropic_client):
    cities = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get the weather of a city.

        Args:
            city: The city.
        """
        cities.append(city)
        return "sunny"

    runner = anthropic_client.beta.messages.tool_runner(
        **scripted("call-weather", tools=[get_weather]))
    assert runner.until_done().content[0].text == "It is sunny in Paris."
    assert cities == ["Paris"]


@pytest.mark.parametrize("tool,inputs", [
    ({"type": "bash_20250124", "name": "bash"}, {"command", "restart"}),
    ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
     {"command", "path", "file_text", "view_range", "old_str", "new_str", "insert_line", "insert_text"}),
])
def test_tools_known_by_their_type_are_called(anthropic_client, teacher, tool, inputs):
    """The form of the call is the mesh's promise, what it does is the model's."""
    reply = anthropic_client.beta.messages.create(
        model=teacher, max_tokens=400, tools=[{**tool, "strict": True}], extra_body=GREEDY,
        betas=["computer-use-2025-01-24"], tool_choice={"type": "any"},
        messages=[{"role": "user", "content": "Show me the file /tmp/a."}])
    call = reply.content[-1]
    assert call.type == "tool_use" and call.name == tool["name"]
    assert set(call.input) <= inputs
    if "path" in inputs:
        assert call.input["command"] in ("view", "create", "str_replace", "insert")
        assert isinstance(call.input["path"], str)


def test_the_memory_tool_of_the_sdk_is_run(anthropic_client, tmp_path):
    from anthropic.tools import BetaLocalFilesystemMemoryTool

    viewed = []

    class Memory(BetaLocalFilesystemMemoryTool):
        def view(self, command):
            viewed.append(command.path)
            return super().view(command)

    runner = anthropic_client.beta.messages.tool_runner(
        **scripted("look-into-memory", tools=[Memory(base_path=str(tmp_path))]),
        betas=["context-management-2025-06-27"])
    assert runner.until_done().content[0].text == "It is sunny in Paris."
    assert viewed == ["/memories"]


def test_a_named_tool_is_called_by_the_real_model(anthropic_client, teacher):
    """The form of the call is the mesh's promise, its arguments are the model's."""
    reply = anthropic_client.messages.create(
        model=teacher, max_tokens=64, tools=[WEATHER], extra_body=GREEDY,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tool_choice={"type": "tool", "name": "get_weather"})
    assert reply.stop_reason == "tool_use"
    assert reply.content[-1].name == "get_weather"
    assert isinstance(reply.content[-1].input, dict)


def test_thinking_is_a_block_of_its_own_and_goes_back(anthropic_client):
    request = scripted("think-aloud", thinking={"type": "enabled", "budget_tokens": 1024})
    reply = anthropic_client.messages.create(**request)
    thinking, text = reply.content
    assert thinking.type == "thinking" and thinking.thinking == "2 and 3 make 5"
    assert thinking.signature
    assert text.text == "It is 5."
    assert 0 < reply.usage.output_tokens_details.thinking_tokens < reply.usage.output_tokens
    request["messages"] += [{"role": "assistant", "content": reply.content},
                            {"role": "user", "content": "count again"}]
    assert anthropic_client.messages.create(**request).content[0].text == counts("again", 40)


def test_thinking_streams(anthropic_client):
    with anthropic_client.messages.stream(**scripted(
            "think-aloud", thinking={"type": "enabled", "budget_tokens": 1024})) as stream:
        events = list(stream)
        message = stream.get_final_message()
    assert "".join(e.thinking for e in events if e.type == "thinking") == "2 and 3 make 5"
    assert [e.signature for e in events if e.type == "signature"] == [message.content[0].signature]
    assert message.content[0].thinking == "2 and 3 make 5"
    assert message.content[1].text == "It is 5."


def test_count_tokens_is_what_a_message_is_charged(anthropic_client, teacher):
    prompt = {"model": teacher, "messages": SUM, "system": "Be brief.", "tools": [WEATHER]}
    counted = anthropic_client.messages.count_tokens(**prompt).input_tokens
    usage = anthropic_client.messages.create(**prompt, max_tokens=1).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_a_repeated_prompt_is_read_from_the_cache(anthropic_client, teacher):
    prompt = {"model": teacher, "max_tokens": 1, "system": "Remember this well. " * 20,
              "messages": SUM}
    first = anthropic_client.messages.create(**prompt).usage
    again = anthropic_client.messages.create(**prompt).usage
    assert again.cache_read_input_tokens > 0
    assert (again.input_tokens + again.cache_read_input_tokens
            == first.input_tokens + first.cache_read_input_tokens)


def test_an_answer_goes_on_from_its_beginning(anthropic_client, teacher):
    """Greedy, the rest of an answer is the same whoever wrote its beginning."""
    question = {"role": "user", "content": "What is 21 + 13?"}

    def ask(*turns):
        message = anthropic_client.messages.create(
            model=teacher, max_tokens=64, messages=[question, *turns], extra_body=GREEDY)
        usage = message.usage
        return message.content[0].text, usage.input_tokens + usage.cache_read_input_tokens

    whole, alone = ask()
    words = whole.split(" ")
    assert len(words) > 3
    beginning = " ".join(words[: len(words) // 2])
    rest, longer = ask({"role": "assistant", "content": beginning})
    assert beginning + rest == whole
    counted = anthropic_client.messages.count_tokens(
        model=teacher, messages=[question, {"role": "assistant", "content": beginning}])
    assert counted.input_tokens == longer > alone
    with pytest.raises(anthropic.BadRequestError, match="trailing whitespace"):
        ask({"role": "assistant", "content": beginning + " "})


def test_errors_have_their_classes(anthropic_client, teacher):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        anthropic_client.messages.create(model="no-such-model", max_tokens=8, messages=SUM)
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert unknown.value.request_id == unknown.value.body["request_id"]
    image = {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}
    with pytest.raises(anthropic.BadRequestError) as refused:
        anthropic_client.messages.create(
            model=teacher, max_tokens=8, messages=[{"role": "user", "content": [image]}])
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert '"image"' in refused.value.body["error"]["message"]
    with pytest.raises(anthropic.BadRequestError) as hot:
        anthropic_client.messages.create(model=teacher, max_tokens=8, messages=SUM,
                                         extra_body={"temperature": 1.5})
    assert hot.value.body["error"]["message"].startswith("temperature: ")


def test_a_stream_that_breaks_raises(anthropic_client):
    text = ""
    with pytest.raises(anthropic.APIStatusError) as failure:
        with anthropic_client.messages.stream(**scripted("break-midway")) as stream:
            for piece in stream.text_stream:
                text += piece
    assert text == "so far "
    assert failure.value.body["error"]["type"] == "api_error"
    assert "inside" not in failure.value.body["error"]["message"]


def test_closing_a_stream_frees_its_slot(anthropic_client, mesh):
    """Left alone the answer would go on for about fifteen seconds."""
    def running():
        return mesh.metric(mesh.worker_probe, "vllm:num_requests_running")

    with anthropic_client.messages.stream(**scripted("count-slowly away")) as stream:
        assert next(iter(stream.text_stream))
        assert running() == 1
    wait_until(lambda: running() == 0, 5, "the slot of a stream that was closed")


def test_the_async_client(mesh, teacher):
    async def ask():
        async with anthropic.AsyncAnthropic(
                base_url=mesh.url, api_key="none", max_retries=0, timeout=60) as client:
            tags = [f"async-{i}" for i in range(8)]
            replies = await asyncio.gather(
                *(client.messages.create(**scripted(f"count {tag}")) for tag in tags))
            assert [reply.content[0].text for reply in replies] == [counts(t, 40) for t in tags]
            async with client.messages.stream(
                    model=teacher, max_tokens=64, messages=SUM, extra_body=GREEDY) as stream:
                assert "34" in await stream.get_final_text()
            assert (await client.messages.count_tokens(model=teacher, messages=SUM)).input_tokens > 0

    asyncio.run(ask())


def test_models_have_its_own_names_too(anthropic_client, teacher):
    page = anthropic_client.models.list()
    listed = {model.id: model for model in page}
    assert listed[teacher].display_name == teacher and listed[teacher].created_at.year > 2000
    assert page.has_more is False and page.last_id == page.data[-1].id
    assert anthropic_client.models.retrieve(teacher).display_name == teacher
