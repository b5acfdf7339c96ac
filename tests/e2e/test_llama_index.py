"""LlamaIndex over both dialects that it has packages for: chat, streams, tools, structured output, and
an index whose vectors and answers come from the mesh."""

import asyncio

import pytest
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

from mesh import SCRIPTED_MODEL, counts

SUM = "What is 37 + 45?"
FACTS = ["The cat of Anna is black.", "The lamp costs 12 dollars.", "The library opens at 9."]


class Pair(BaseModel):
    """Two numbers."""

    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


@pytest.fixture(scope="module", params=["openai", "ollama"])
def llm(request, mesh):
    """A maker of language models of either package."""

    def make(model, **options):
        if request.param == "openai":
            return OpenAILike(model=model, api_base=mesh.url + "/v1", api_key="none", temperature=0,
                              is_chat_model=True, is_function_calling_model=True, max_retries=0,
                              context_window=2048, timeout=60, **options)
        return Ollama(model=model, base_url=mesh.url, temperature=0, request_timeout=60,
                      context_window=2048, is_function_calling_model=True, **options)

    make.package = request.param
    return make


@pytest.fixture(params=["openai", "ollama"])
def embedder(request, mesh, embedding_model):
    if request.param == "openai":
        return OpenAILikeEmbedding(model_name=embedding_model, api_base=mesh.url + "/v1",
                                   api_key="none", max_retries=0)
    return OllamaEmbedding(model_name=embedding_model, base_url=mesh.url)


def weather_tool(asked):
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"sunny in {city}"

    return FunctionTool.from_defaults(get_weather)


def test_chat_and_complete(llm, teacher):
    model = llm(teacher)
    reply = model.chat([ChatMessage(role="system", content="You are a teacher."),
                        ChatMessage(role="user", content=SUM)])
    assert reply.message.content == "37 + 45 = 82"
    assert reply.message.role == "assistant"
    assert model.complete(SUM).text == "37 + 45 = 82"


def test_streams_are_the_same_text(llm):
    model = llm(SCRIPTED_MODEL)
    parts = list(model.stream_chat([ChatMessage(role="user", content="count li")]))
    assert len(parts) > 40
    assert "".join(part.delta for part in parts) == counts("li", 40)
    assert parts[-1].message.content == counts("li", 40)

    async def ask(tag):
        stream = await model.astream_complete(f"count {tag}")
        return "".join([part.delta async for part in stream])

    async def all_of(tags):
        return await asyncio.gather(*(ask(tag) for tag in tags))

    tags = [f"li-{i}" for i in range(6)]
    assert asyncio.run(all_of(tags)) == [counts(tag, 40) for tag in tags]


def test_a_call_is_selected_and_made(llm):
    asked = []
    reply = llm(SCRIPTED_MODEL).predict_and_call([weather_tool(asked)], user_msg="call-weather")
    assert asked == ["Paris"]
    assert reply.response == "sunny in Paris"


def test_streamed_calls_join(llm):
    model = llm(SCRIPTED_MODEL)
    last = list(model.stream_chat_with_tools([weather_tool([])], user_msg="call-weather"))[-1]
    call, = model.get_tool_calls_from_response(last)
    assert call.tool_name == "get_weather" and call.tool_kwargs == {"city": "Paris"}


def test_an_agent_runs_to_the_answer(llm):
    asked = []

    async def ask():
        agent = FunctionAgent(tools=[weather_tool(asked)], llm=llm(SCRIPTED_MODEL))
        return await agent.run("call-weather")

    result = asyncio.run(ask())
    assert asked == ["Paris"]
    assert str(result) == "It is sunny in Paris."
    assert [call.tool_output.content for call in result.tool_calls] == ["sunny in Paris"]


def test_the_default_model_calls_and_reads_the_result(llm, teacher):
    minutes_set = []

    def set_timer(minutes: int) -> str:
        """Set a timer."""
        minutes_set.append(minutes)
        return "ok"

    async def ask():
        agent = FunctionAgent(tools=[FunctionTool.from_defaults(set_timer)], llm=llm(teacher))
        return await agent.run("Set a timer for 25 minutes.")

    assert str(asyncio.run(ask())) == "The timer is set for 25 minutes."
    assert minutes_set == [25]


def test_structured_output_is_the_class(llm, teacher):
    model = llm(teacher, should_use_structured_outputs=True) if llm.package == "openai" else (
        llm(teacher))
    assert isinstance(model.structured_predict(Pair, PromptTemplate("What is 21 + 13?")), Pair)


def test_a_stream_that_breaks_raises(llm):
    text = ""
    with pytest.raises(Exception, match="internal error") as failure:
        for part in llm(SCRIPTED_MODEL).stream_complete("break-midway"):
            text += part.delta
    assert text == "so far "
    assert "inside" not in str(failure.value)


def test_an_unknown_model_is_named(llm):
    with pytest.raises(Exception, match="no-such-model") as failure:
        llm("no-such-model").complete(SUM)
    assert failure.value.status_code == 404


def test_an_index_finds_and_answers(embedder, llm, teacher):
    index = VectorStoreIndex.from_documents(
        [Document(text=fact) for fact in FACTS], embed_model=embedder,
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)])
    nodes = index.as_retriever(similarity_top_k=1).retrieve("What is the price of the lamp?")
    assert [node.text for node in nodes] == [FACTS[1]]
    engine = index.as_query_engine(
        llm=llm(teacher), similarity_top_k=2, response_mode="simple_summarize",
        text_qa_template=PromptTemplate("{context_str}\n{query_str}"))
    assert "12" in str(engine.query("How much does the lamp cost?"))


def test_embeddings_in_batches_and_alone_agree(embedder):
    batch = embedder.get_text_embedding_batch(FACTS)
    assert [len(vector) for vector in batch] == [384] * 3
    for fact, vector in zip(FACTS, batch, strict=True):
        assert embedder.get_text_embedding(fact) == pytest.approx(vector, abs=1e-5)
    assert asyncio.run(embedder.aget_text_embedding_batch(FACTS))[2] == pytest.approx(
        batch[2], abs=1e-5)
