"""LangChain's own packages, langchain-openai and langchain-ollama, against the same mesh."""

import asyncio

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

from mesh import SCRIPTED_MODEL, counts

SUM = "What is 21 + 13?"
CAT, SUMS = "The cat sleeps on the sofa.", "Addition is taught in the second grade."


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"sunny in {city}"


class set_timer(BaseModel):  # the name is the function's
    """Set a timer."""

    minutes: int


class Pair(BaseModel):
    """Two numbers."""

    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


@pytest.fixture(scope="module", params=["openai", "ollama"])
def chat(request, mesh):
    """A maker of chat models of either package."""

    def make(model, **options):
        if request.param == "openai":
            options.setdefault("max_retries", 0)
            return ChatOpenAI(model=model, base_url=mesh.url + "/v1", api_key="none", timeout=60,
                              temperature=0, stream_usage=True, **options)
        if "max_tokens" in options:
            options["num_predict"] = options.pop("max_tokens")
        return ChatOllama(model=model, base_url=mesh.url, temperature=0, **options)

    make.package = request.param
    return make


def test_a_chain_answers_and_counts(chat, teacher):
    prompt = ChatPromptTemplate.from_messages([("human", "What is {a} + {b}?")])
    chain = prompt | chat(teacher)
    message = chain.invoke({"a": 37, "b": 45})
    assert message.content == "37 + 45 = 82"
    usage = message.usage_metadata
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert (chain | StrOutputParser()).invoke({"a": 21, "b": 13}) == "21 + 13 = 34"


def test_stream_is_the_same_message(chat, teacher):
    model = chat(teacher)
    whole = model.invoke(SUM)
    chunks = list(model.stream(SUM))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    assert len(chunks) > 3
    assert joined.content == whole.content == "21 + 13 = 34"
    assert joined.usage_metadata == whole.usage_metadata
    key = "finish_reason" if chat.package == "openai" else "done_reason"
    assert joined.response_metadata[key] == "stop"


def test_stop_and_length(chat):
    model = chat(SCRIPTED_MODEL)
    assert model.invoke("count x", stop=[" x:2"]).content == "x:0 x:1"
    key = "finish_reason" if chat.package == "openai" else "done_reason"
    cut = chat(SCRIPTED_MODEL, max_tokens=3).invoke("count x")
    assert cut.content == "x:0" and cut.response_metadata[key] == "length"


def test_batch_and_async_keep_answers_apart(chat):
    model = chat(SCRIPTED_MODEL)
    tags = [f"lc-{i}" for i in range(8)]
    wanted = [counts(tag, 40) for tag in tags]
    replies = model.batch([f"count {tag}" for tag in tags], {"max_concurrency": 8})
    assert [reply.content for reply in replies] == wanted

    async def ask():
        async def streamed(tag):
            return "".join([chunk.content async for chunk in model.astream(f"count {tag}")])

        return await asyncio.gather(*(streamed(tag) for tag in tags))

    assert asyncio.run(ask()) == wanted


def test_tools_loop(chat):
    model = chat(SCRIPTED_MODEL).bind_tools([get_weather])
    messages = [SystemMessage("Be brief."), HumanMessage("call-weather")]
    call = model.invoke(messages)
    assert [(c["name"], c["args"]) for c in call.tool_calls] == [("get_weather", {"city": "Paris"})]
    assert call.invalid_tool_calls == [] and call.tool_calls[0]["id"]
    messages.append(call)
    messages += [get_weather.invoke(c) for c in call.tool_calls]
    assert isinstance(messages[-1], ToolMessage) and messages[-1].content == "sunny in Paris"
    assert model.invoke(messages).content == "It is sunny in Paris."


def test_streamed_tool_calls_join(chat):
    model = chat(SCRIPTED_MODEL).bind_tools([get_weather])
    chunks = list(model.stream("call-weather"))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    assert [(c["name"], c["args"]) for c in joined.tool_calls] == [("get_weather", {"city": "Paris"})]


def test_the_default_model_calls_and_reads_the_result(chat, teacher):
    model = chat(teacher).bind_tools([set_timer])
    messages = [HumanMessage("Set a timer for 25 minutes.")]
    call = model.invoke(messages)
    assert [(c["name"], c["args"]) for c in call.tool_calls] == [("set_timer", {"minutes": 25})]
    messages += [call, ToolMessage("ok", tool_call_id=call.tool_calls[0]["id"])]
    assert model.invoke(messages).content == "The timer is set for 25 minutes."


def test_structured_output_is_the_class(chat, teacher):
    """The form is the mesh's promise, the numbers are the model's."""
    model = chat(teacher, max_tokens=200).with_structured_output(Pair, method="json_schema")
    assert isinstance(model.invoke(SUM), Pair)
    streamed = list(model.stream(SUM))
    assert isinstance(streamed[-1], Pair)


def test_structured_output_as_a_function(chat, teacher):
    model = chat(teacher).with_structured_output(set_timer, method="function_calling")
    assert model.invoke("Set a timer for 25 minutes.") == set_timer(minutes=25)


def test_structured_output_in_json_mode(chat, teacher):
    """The default model repeats a message it does not understand, which here is JSON."""
    model = chat(teacher, max_tokens=200).with_structured_output(set_timer, method="json_mode")
    assert model.invoke('{"minutes": 25}') == set_timer(minutes=25)


def test_reasoning_is_apart_from_the_answer(mesh):
    """ChatOpenAI has no place for it."""
    model = ChatOllama(model=SCRIPTED_MODEL, base_url=mesh.url, reasoning=True)
    message = model.invoke("think-aloud")
    assert message.content == "It is 5."
    assert message.additional_kwargs["reasoning_content"] == "2 and 3 make 5"


def test_a_stream_that_breaks_raises(chat):
    text = ""
    with pytest.raises(Exception) as failure:
        for chunk in chat(SCRIPTED_MODEL).stream("break-midway"):
            text += chunk.content
    assert text == "so far "
    assert type(failure.value).__name__ == (
        "APIError" if chat.package == "openai" else "ResponseError")
    assert "inside" not in str(failure.value)


def test_an_unknown_model_is_named(chat):
    with pytest.raises(Exception, match="no-such-model") as failure:
        chat("no-such-model").invoke(SUM)
    assert failure.value.status_code == 404


def test_log_probabilities(mesh, teacher):
    model = ChatOpenAI(model=teacher, base_url=mesh.url + "/v1", api_key="none", temperature=0,
                       logprobs=True, top_logprobs=2)
    tokens = model.invoke(SUM).response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).startswith("21 + 13 = 34")
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_plain_completion_models(mesh):
    of_openai = OpenAI(model=SCRIPTED_MODEL, base_url=mesh.url + "/v1", api_key="none",
                       max_tokens=4096, max_retries=0)
    of_ollama = OllamaLLM(model=SCRIPTED_MODEL, base_url=mesh.url)
    for model in (of_openai, of_ollama):
        assert model.invoke("count it") == counts("it", 40)
        assert "".join(model.stream("count it")) == counts("it", 40)


@pytest.fixture(params=["openai", "ollama"])
def embeddings(request, mesh, embedding_model):
    if request.param == "ollama":
        return OllamaEmbeddings(model=embedding_model, base_url=mesh.url)
    # Else it would send the token ids of OpenAI's own vocabulary.
    return OpenAIEmbeddings(model=embedding_model, base_url=mesh.url + "/v1", api_key="none",
                            check_embedding_ctx_length=False)


def test_embeddings_put_like_texts_together(embeddings):
    def likeness(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    cat, sums = embeddings.embed_documents([CAT, SUMS])
    pet = embeddings.embed_query("Where is the kitten?")
    assert len(pet) == 384 and likeness(pet, pet) == pytest.approx(1, abs=1e-4)
    assert likeness(pet, cat) > likeness(pet, sums) + 0.2
    assert asyncio.run(embeddings.aembed_documents([CAT]))[0] == pytest.approx(cat, abs=1e-6)


def test_refusals_of_openai_keep_their_classes(mesh, teacher):
    def model(**options):
        return ChatOpenAI(model=teacher, base_url=mesh.url + "/v1", api_key="none", **options)

    with pytest.raises(openai.BadRequestError, match="temperature"):
        model(temperature=7).invoke(SUM)
    with pytest.raises(ContextOverflowError):
        model().invoke("one two three " * 2000)
