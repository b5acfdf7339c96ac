import pytest

import offline
from client_families import family_of_interpreter, family_of_test
from mesh import REPO, Mesh

offline.enforce()


def pytest_addoption(parser):
    parser.addoption("--build-dir", default=str(REPO / "build/dev"))
    parser.addoption("--schemas", type=int, default=60, help="random JSON schemas to try")
    parser.addoption("--calls", type=int, default=12, help="forced tool calls for each dialect")


def pytest_ignore_collect(collection_path, config):
    """An interpreter runs the tests of its own family, and no other's."""
    is_test = collection_path.name.startswith("test_")
    return True if is_test and family_of_test(collection_path) != family_of_interpreter() else None


@pytest.fixture(autouse=True)
def nobody_else_is_spoken_to():
    yield
    tried = offline.attempts[:]
    offline.attempts.clear()
    assert tried == []


@pytest.fixture(scope="session")
def mesh(request):
    """One mesh for all tests. A test that kills services leaves it ready again."""
    running = Mesh(request.config.getoption("--build-dir"))
    try:
        running.up()
        yield running
    finally:
        running.destroy()


@pytest.fixture(scope="session")
def checked_transport():
    from checked_transport import CheckedTransport

    return CheckedTransport()


@pytest.fixture(scope="session")
def openai_client(mesh, checked_transport):
    """Every answer it gets, each event of a stream included, fits the schema of its route."""
    import httpx2
    import openai

    return openai.OpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0, timeout=60,
                         http_client=httpx2.Client(transport=checked_transport))


@pytest.fixture(scope="session")
def ollama_client(mesh):
    import ollama

    return ollama.Client(host=mesh.url)


@pytest.fixture(scope="session")
def anthropic_client(mesh):
    import anthropic

    return anthropic.Anthropic(base_url=mesh.url, api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def teacher(mesh):
    """The name under which the default model is served."""
    return mesh.wait_for_model("conclave-teacher")


@pytest.fixture(scope="session")
def embedding_model(mesh):
    if not mesh.runs("embed"):
        pytest.skip("the embedding model could not be had, so the mesh runs without embeddings")
    return mesh.wait_for_model("all-MiniLM")
