#include "gateway/upstream/joined_call.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "catch2/catch.hpp"
#include "gateway/dialects/generation.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

namespace net = boost::asio;

// Calls whose events come when the test says so.
class OpenCalls final : public InferenceUpstream {
 public:
  struct One {
    std::shared_ptr<EventStream<v1::GenerateEvent>::Feed> feed =
        std::make_shared<EventStream<v1::GenerateEvent>::Feed>();
    bool cancelled = false;
  };

  Call<v1::GenerateEvent> Generate(v1::GenerateRequest, base::SteadyTime) override {
    auto one = std::make_shared<One>();
    calls.push_back(one);
    return std::make_unique<EventStream<v1::GenerateEvent>>(
        one->feed, [this] { ++asked_for_more; },
        [one] {
          one->cancelled = true;
          one->feed->Finish(absl::CancelledError("cancelled"));
        });
  }
  Call<v1::TokenizeReply> Tokenize(v1::TokenizeRequest, base::SteadyTime) override {
    return nullptr;
  }
  Call<v1::DetokenizeReply> Detokenize(v1::DetokenizeRequest, base::SteadyTime) override {
    return nullptr;
  }
  Call<v1::PredictReply> Predict(v1::PredictRequest, base::SteadyTime) override { return nullptr; }

  std::vector<std::shared_ptr<One>> calls;
  int asked_for_more = 0;
};

std::vector<v1::GenerateRequest> Requests(size_t count, int n = 1) {
  std::vector<v1::GenerateRequest> requests(count);
  for (v1::GenerateRequest& request : requests) request.set_n(n);
  return requests;
}

void Play(OpenCalls::One& call, const std::vector<std::string>& events,
          const absl::Status& status = absl::OkStatus()) {
  for (const std::string& text : events) call.feed->Push(Proto<v1::GenerateEvent>(text), 1);
  call.feed->Finish(status);
}

struct Reader {
  std::vector<v1::GenerateEvent> events;
  absl::Status status;
  bool ended = false;

  Task<void> Read(Call<v1::GenerateEvent>& call) {
    while (co_await call->Next(&events, base::SteadyTime::max()) != StreamGot::kEnd) {
    }
    status = call->status();
    ended = true;
  }
};

}  // namespace

TEST_CASE("several prompts are one stream, every answer in its place") {
  net::io_context io;
  OpenCalls upstream;
  auto call =
      JoinGenerations(&upstream, Requests(3, 2), base::SteadyTime::max(), io.get_executor());
  Reader reader;
  net::co_spawn(io, reader.Read(call), net::detached);
  io.poll();
  REQUIRE(upstream.calls.size() == 3);
  // The last prompt is the first to end.
  for (const int p : {2, 0, 1}) {
    const std::string tokens = std::to_string(10 * (p + 1));
    const std::string usage = " usage { prompt_tokens: " + tokens + " completion_tokens: 1";
    Play(*upstream.calls[static_cast<size_t>(p)],
         {"accepted { prompt_tokens: " + tokens + " }", "progress { phase: PHASE_PREFILL }",
          "prompt_logprobs { position: 0 text: 'p' }", "delta { index: 1 text: 'b' }",
          "delta { index: 0 text: 'a' }", "finished { index: 1" + usage + " } }",
          "finished { index: 0" + usage + " cached_tokens: 4 } }"});
    io.restart();
    io.poll();
  }
  REQUIRE(reader.ended);
  CHECK(reader.status.ok());
  Completion whole;
  int accepted = 0;
  std::set<int> prompts;
  for (const v1::GenerateEvent& event : reader.events) {
    CHECK_FALSE(event.has_progress());
    accepted += event.has_accepted() ? 1 : 0;
    if (event.has_prompt_logprobs()) prompts.insert(event.prompt_logprobs().prompt());
    whole.Add(event);
  }
  CHECK(accepted == 1);
  CHECK(prompts == std::set<int>{0, 1, 2});
  REQUIRE(whole.choices.size() == 6);
  for (size_t i = 0; i < 6; ++i) CHECK(whole.choices[i].text == (i % 2 == 0 ? "a" : "b"));
  CHECK(whole.usage.prompt_tokens() == 10 + 20 + 30);
  CHECK(whole.usage.completion_tokens() == 6);
  CHECK(whole.usage.cached_tokens() == 3 * 4);
}

TEST_CASE("of many prompts a few run at a time, and the first error ends all") {
  net::io_context io;
  OpenCalls upstream;
  auto call = JoinGenerations(&upstream, Requests(30), base::SteadyTime::max(), io.get_executor());
  Reader reader;
  net::co_spawn(io, reader.Read(call), net::detached);
  io.poll();
  const size_t at_once = upstream.calls.size();
  CHECK(at_once == 8);
  Play(*upstream.calls[3], {"accepted {}", "finished {}"});
  io.restart();
  io.poll();
  CHECK(upstream.calls.size() == at_once + 1);
  Play(*upstream.calls[5], {}, absl::UnavailableError("gone"));
  io.restart();
  io.poll();
  REQUIRE(reader.ended);
  CHECK(absl::IsUnavailable(reader.status));
  CHECK(reader.status.message() == "entry 5: gone");
  CHECK(upstream.calls.size() == at_once + 1);
  for (size_t i = 0; i < upstream.calls.size(); ++i) {
    if (i != 3 && i != 5) CHECK(upstream.calls[i]->cancelled);
  }
}

TEST_CASE("whoever gives a joined call up ends all of it") {
  net::io_context io;
  OpenCalls upstream;
  auto call = JoinGenerations(&upstream, Requests(12), base::SteadyTime::max(), io.get_executor());
  io.poll();
  call.reset();
  io.restart();
  io.poll();
  CHECK(upstream.calls.size() == 8);
  for (const auto& one : upstream.calls) CHECK(one->cancelled);
}

TEST_CASE("a reader that does not read holds the calls back") {
  net::io_context io;
  OpenCalls upstream;
  auto call = JoinGenerations(&upstream, Requests(2), base::SteadyTime::max(), io.get_executor());
  io.poll();
  const std::string large(EventStream<v1::GenerateEvent>::Feed::kBytesMax, 'x');
  v1::GenerateEvent event;
  event.mutable_delta()->set_text(large);
  for (const auto& one : upstream.calls) one->feed->Push(event, large.size());
  io.restart();
  io.poll();
  const int asked = upstream.asked_for_more;
  // Full: what comes now stays with the calls.
  for (const auto& one : upstream.calls) one->feed->Push(event, large.size());
  io.restart();
  io.poll();
  CHECK(upstream.asked_for_more == asked);
  Reader reader;
  net::co_spawn(io, reader.Read(call), net::detached);
  for (const auto& one : upstream.calls) one->feed->Finish(absl::OkStatus());
  io.restart();
  io.poll();
  CHECK(reader.ended);
  CHECK(reader.events.size() == 4);
}

}  // namespace conclave::gateway
