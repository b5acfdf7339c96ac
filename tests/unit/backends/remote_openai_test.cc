// The whole way to another server and back, with a server that does what servers do on bad days.
#include <algorithm>
#include <catch2/catch.hpp>
#include <mutex>

#include "base/status.h"
#include "support/http_peer.h"
#include "support/wait_until.h"
#include "unit/backends/provider_fixture.h"

namespace conclave::backends {
namespace {

using support::HttpPeer;
using support::PeerConnection;
using support::PeerRequest;

std::string Text(const std::string& text) {
  return R"(data: {"choices":[{"delta":{"content":")" + text + "\"}}]}\n\n";
}
constexpr char kEnd[] =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

// Serves /v1/models; the rest is the test's.
HttpPeer::Handler Server(HttpPeer::Handler rest) {
  return [rest = std::move(rest)](const PeerRequest& request, PeerConnection& connection) {
    if (request.path == "/v1/models") {
      return connection.Reply(200, R"({"data":[{"id":"m","max_model_len":100},{"id":"n"}]})");
    }
    rest(request, connection);
  };
}

std::string Config(const HttpPeer& peer, const std::string& more = "") {
  return R"({"url":"http://)" + peer.address() + R"(/v1/")" + more + "}";
}

// How a generation ends.
absl::Status EndOf(const HttpPeer& peer, const std::string& more = "") {
  const Opened opened = OpenModel("remote::openai", Config(peer, more), "m");
  const auto sink = std::make_shared<RecordingSink>();
  const auto accepted = opened.backend->Generate(AskChat("r"), sink);
  REQUIRE(accepted.ok());
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->ends() == 1);
  return sink->finished() ? absl::OkStatus() : sink->failure();
}

}  // namespace

TEST_CASE("a chat goes to the other server and comes back as events") {
  setenv("CONCLAVE_TEST_REMOTE_KEY", "sk-secret", 1);
  HttpPeer peer(Server([](const PeerRequest&, PeerConnection& connection) {
    connection.BeginStream();
    connection.Send(Text("Hel") + Text("lo") + kEnd);
  }));
  const Opened opened = OpenModel(
      "remote::openai", Config(peer, R"(,"api_key_env":"CONCLAVE_TEST_REMOTE_KEY")"), "m");
  CHECK(opened.backend->details().context_length == 100);
  CHECK(opened.provider->status().models == std::vector<std::string>{"m", "n"});
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(opened.backend->Generate(AskChat("r"), sink).ok());
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text() == "Hello");
  REQUIRE(sink->finished());
  CHECK(sink->finished()->reason == Finished::Reason::kStop);
  // The provider asks for the list of models now and then as well.
  const std::vector<PeerRequest> requests = peer.requests();
  const auto chat = std::find_if(requests.begin(), requests.end(), [](const PeerRequest& request) {
    return request.path == "/v1/chat/completions";
  });
  REQUIRE(chat != requests.end());
  CHECK(chat->headers.at("authorization") == "Bearer sk-secret");
  for (const auto& entry : opened.log->Newest(0)) {
    CHECK(entry.message.find("sk-secret") == std::string::npos);
  }
}

TEST_CASE("several answers are several requests to the other server, which is asked for one each") {
  HttpPeer peer(Server([](const PeerRequest& request, PeerConnection& connection) {
    const bool first = request.body.find("\"seed\":7,") != std::string::npos ||
                       request.body.find("\"seed\":7}") != std::string::npos;
    connection.BeginStream();
    connection.Send(Text(first ? "one" : "other") + kEnd);
  }));
  const Opened opened = OpenModel("remote::openai", Config(peer), "m");
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  GenerateRequest request = AskChat("r");
  request.n = 3;
  request.sampling.seed = 7;
  REQUIRE(opened.backend->Generate(std::move(request), sink).ok());
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text(0) == "one");
  CHECK(sink->text(1) == "other");
  CHECK(sink->text(2) == "other");
  for (const PeerRequest& asked : peer.requests()) {
    CHECK(asked.body.find("\"n\":") == std::string::npos);
  }
}

TEST_CASE("only models that the other server serves can be opened") {
  HttpPeer peer(Server([](const PeerRequest&, PeerConnection&) {}));
  const auto provider = MakeProvider("remote::openai", Config(peer));
  REQUIRE(provider.ok());
  const auto open = [&](const std::string& id, const std::string& config) {
    return (*provider)
        ->Open({.name = "x", .model_id = id, .config_json = config, .log = nullptr})
        .status();
  };
  CHECK(absl::IsNotFound(open("other", "")));
  CHECK(base::ParamOf(open("other", "")) == "provider_model_id");
  CHECK(open("m", R"({"context_length":50})").ok());
  CHECK(open("m", R"({"url":"http://evil/"})").message() ==
        "config_json: url: there is no such setting");
  CHECK(absl::IsInvalidArgument(open("m", "[")));
}

TEST_CASE("settings are checked before anybody is called") {
  const auto refusal = [](const std::string& config) {
    return std::string(MakeProvider("remote::openai", config).status().message());
  };
  CHECK(refusal("{}") == "url: required");
  CHECK(refusal(R"({"url":"file:///etc"})").find("url: ") == 0);
  CHECK(refusal(R"({"url":"http://h/v1","api_key":"sk"})") == "api_key: there is no such setting");
  CHECK(refusal(R"({"url":"http://h/v1","max_concurrent":0})").find("max_concurrent: ") == 0);
  CHECK(refusal(R"({"url":"http://h/v1","max_tokens_field":"n"})").find("max_tokens_field: ") == 0);
}

TEST_CASE(
    "a server that is away can be opened by nobody, and its models are unhealthy until it is "
    "back") {
  const auto away = MakeProvider("remote::openai", R"({"url":"http://127.0.0.1:1/v1"})");
  REQUIRE(away.ok());
  CHECK(absl::IsUnavailable(
      (*away)->Open({.name = "x", .model_id = "m", .config_json = "", .log = nullptr}).status()));
  CHECK(!(*away)->status().health->ok());

  std::atomic<int> status{200};
  HttpPeer peer([&](const PeerRequest&, PeerConnection& connection) {
    connection.Reply(status, R"({"data":[{"id":"m"}]})");
  });
  const Opened opened =
      OpenModel("remote::openai", Config(peer, R"(,"health_interval":"100ms")"), "m");
  CHECK(opened.backend->health().ok());
  status = 503;
  CHECK(support::WaitUntil([&] { return absl::IsUnavailable(opened.backend->health()); }));
  CHECK(absl::IsUnavailable(
      opened.backend->Generate(AskChat("r"), std::make_shared<RecordingSink>()).status()));
  status = 200;
  CHECK(support::WaitUntil([&] { return opened.backend->health().ok(); }));
}

TEST_CASE("every bad day of the other server ends in an error of its own") {
  std::mutex mutex;  // of the day that comes: a server may still be at the last one
  std::string coming;
  HttpPeer peer(Server([&](const PeerRequest&, PeerConnection& connection) {
    const std::string day = [&] {
      const std::lock_guard lock(mutex);
      return coming;
    }();
    if (day == "400") return connection.Reply(400, R"({"error":{"message":"x","param":"seed"}})");
    if (day == "429") return connection.Reply(429, "{}", "Retry-After: 3\r\n");
    if (day == "500") return connection.Reply(500, "oops");
    if (day == "redirect") return connection.Reply(307, "", "Location: http://127.0.0.1:1/\r\n");
    if (day == "json") return connection.Reply(200, R"({"choices":[]})");
    connection.BeginStream();
    if (day == "nothing") return;
    connection.Send(Text("A"));
    if (day == "cut") return;
    if (day == "half") {
      connection.Send("data: {\"choi");
      return;
    }
    if (day == "utf8") connection.Send(Text("\xff\xfe"));
    if (day == "error") connection.Send("data: {\"error\":{\"message\":\"x\",\"code\":503}}\n\n");
    if (day == "huge") {
      const std::string piece(1 << 16, 'x');
      connection.Send("data: ");
      for (int i = 0; i < 100 && connection.Send(piece);) ++i;
    }
    if (day == "silence") connection.WaitForHangUp();
  }));
  const auto end = [&](const std::string& today, const std::string& more = "") {
    {
      const std::lock_guard lock(mutex);
      coming = today;
    }
    return EndOf(peer, more);
  };
  const absl::Status bad = end("400");
  CHECK(absl::IsInvalidArgument(bad));
  CHECK(base::ParamOf(bad) == "seed");
  const absl::Status busy = end("429");
  CHECK(absl::IsResourceExhausted(busy));
  CHECK(base::RetryAfterOf(busy) == std::chrono::milliseconds(3'000));
  // Before the first piece it may be tried elsewhere …
  CHECK(absl::IsUnavailable(end("500")));
  CHECK(base::ReasonOf(end("redirect")) == "upstream_redirect");
  CHECK(base::ReasonOf(end("json")) == "upstream_invalid");
  CHECK(base::ReasonOf(end("nothing")) == "upstream_lost");
  // … afterwards it may not.
  for (const std::string today : {"cut", "half", "error"}) {
    CAPTURE(today);
    const absl::Status status = end(today);
    CHECK(absl::IsInternal(status));
    CHECK(base::ReasonOf(status) == "upstream_lost");
  }
  CHECK(base::ReasonOf(end("utf8")) == "upstream_invalid");
  CHECK(base::ReasonOf(end("huge")) == "upstream_invalid");
  CHECK(absl::IsDeadlineExceeded(end("silence", R"(,"idle_timeout":"50ms")")));
  CHECK(absl::IsDeadlineExceeded(end("silence", R"(,"total_timeout":"50ms")")));
}

TEST_CASE("a cancelled generation closes the connection and says so once") {
  std::promise<bool> hung_up;
  HttpPeer peer(Server([&](const PeerRequest&, PeerConnection& connection) {
    connection.BeginStream();
    connection.Send(Text("A"));
    hung_up.set_value(connection.WaitForHangUp());
  }));
  const Opened opened = OpenModel("remote::openai", Config(peer), "m");
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(opened.backend->Generate(AskChat("r"), sink).ok());
  REQUIRE(sink->WaitForDeltas(1));
  opened.backend->Cancel("r");
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->finished()->reason == Finished::Reason::kCancelled);
  CHECK(hung_up.get_future().get());
}

TEST_CASE("a stream that lost its worker is not taken up again, one that had not begun is") {
  HttpPeer peer(Server([](const PeerRequest&, PeerConnection& connection) {
    connection.BeginStream();
    connection.Send(Text("A") + kEnd);
  }));
  const Opened opened = OpenModel("remote::openai", Config(peer), "m");
  GenerateRequest request = AskChat("r");
  request.resume = Resume{.answers = {{}}, .seed = 5, .next_seq = 3};
  const absl::Status refused =
      opened.backend->Generate(request, std::make_shared<RecordingSink>()).status();
  CHECK(absl::IsInternal(refused));
  request.resume->next_seq = 0;
  const auto sink = std::make_shared<RecordingSink>();
  const auto accepted = opened.backend->Generate(request, sink);
  REQUIRE(accepted.ok());
  CHECK(accepted->seed == 5);
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text() == "A");
}

TEST_CASE("the other server's tokenizer is used where it has one") {
  HttpPeer peer(Server([](const PeerRequest& request, PeerConnection& connection) {
    if (request.path == "/tokenize") return connection.Reply(200, R"({"tokens":[1,2,3]})");
    connection.Reply(404, "{}");
  }));
  const Opened opened = OpenModel("remote::openai", Config(peer), "m");
  const auto tokenized = opened.backend->Tokenize(TextPrompt{"hi"}, {});
  REQUIRE(tokenized.ok());
  CHECK(tokenized->ids == std::vector<TokenId>{1, 2, 3});
  const std::vector<TokenId> ids = {1};
  CHECK(absl::IsUnimplemented(opened.backend->Detokenize(ids).status()));
}

}  // namespace conclave::backends
