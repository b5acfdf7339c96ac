#include "backends/answer_fan.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "base/status.h"
#include "unit/backends/provider_fixture.h"

namespace conclave::backends {
namespace {

// Keeps what it is asked, and says what the test says.
class Hands final : public Backend {
 public:
  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override {
    if (static_cast<int>(requests.size()) == refuse_after) {
      return base::ResourceExhausted("the queue is full");
    }
    sinks[request.id] = std::move(sink);
    requests.push_back(std::move(request));
    if (at_once) End(requests.back().id);
    return Accepted{.seed = requests.back().sampling.seed.value_or(99)};
  }
  void Cancel(std::string_view id) override {
    cancelled.insert(std::string(id));
    Finished finished;
    finished.reason = Finished::Reason::kCancelled;
    Tell(std::string(id), finished);
  }
  void Resume(std::string_view id) override { resumed.insert(std::string(id)); }
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>&,
                                     const TokenizeOptions&) const override {
    return Tokenized{};
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId>) const override { return "x"; }
  Load load() const override { return {}; }
  const ModelDetails& details() const override { return details_; }
  void Drain(std::chrono::milliseconds) override {
    while (!sinks.empty()) Cancel(sinks.begin()->first);
  }

  Flow Say(const std::string& id, const std::string& text) {
    Delta delta;
    delta.text = text;
    return sinks.at(id)->OnEvent(delta);
  }
  void End(const std::string& id) {
    Finished finished;
    finished.usage = {.prompt_tokens = 5, .completion_tokens = 2, .cached_tokens = 4};
    Tell(id, finished);
  }
  void Fail(const std::string& id) { Tell(id, Failed{base::Unavailable("away")}); }
  // The last event of a part.
  void Tell(const std::string& id, Event event) {
    const auto found = sinks.find(id);
    if (found == sinks.end()) return;
    const std::shared_ptr<EventSink> sink = std::move(found->second);
    sinks.erase(found);
    sink->OnEvent(std::move(event));
  }

  int refuse_after = -1;
  bool at_once = false;  // answers before Generate returns
  std::vector<GenerateRequest> requests;
  std::map<std::string, std::shared_ptr<EventSink>> sinks;
  std::set<std::string> cancelled, resumed;

 private:
  ModelDetails details_;
};

struct Fanned {
  Hands* hands;
  std::unique_ptr<Backend> backend;
};
Fanned Make() {
  auto hands = std::make_unique<Hands>();
  Hands* const raw = hands.get();
  return {raw, FanOutAnswers(std::move(hands))};
}

GenerateRequest Ask(int32_t n, std::optional<uint64_t> seed = std::nullopt) {
  GenerateRequest request = AskChat("r");
  request.n = n;
  request.sampling.seed = seed;
  return request;
}

}  // namespace

TEST_CASE("several answers are as many requests, each with a seed of its own") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  const auto accepted = fanned.backend->Generate(Ask(3, 7), sink);
  REQUIRE(accepted.ok());
  CHECK(accepted->seed == 7);
  REQUIRE(fanned.hands->requests.size() == 3);
  std::set<uint64_t> seeds;
  for (const GenerateRequest& request : fanned.hands->requests) {
    CHECK(request.n == 1);
    seeds.insert(*request.sampling.seed);
  }
  CHECK(seeds.size() == 3);
  CHECK(fanned.hands->requests[0].sampling.seed == 7);
  CHECK(*seeds.rbegin() <= 0x7fffffff);

  fanned.hands->Say("r/2", "c");
  fanned.hands->Say("r/0", "a");
  fanned.hands->End("r/2");
  fanned.hands->Say("r/1", "b");
  fanned.hands->Say("r/0", "A");
  CHECK(sink->ends() == 1);
  fanned.hands->End("r/1");
  fanned.hands->End("r/0");
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text(0) == "aA");
  CHECK(sink->text(1) == "b");
  CHECK(sink->text(2) == "c");
  int64_t seq = 0;
  for (const Delta& delta : sink->deltas()) CHECK(delta.seq == seq++);
  // The prompt counts once, what was cached of it too.
  std::map<int32_t, Usage> usage;
  for (const Finished& one : sink->all_finished()) usage[one.index] = one.usage;
  REQUIRE(usage.size() == 3);
  CHECK(usage[0].cached_tokens == 4);
  CHECK(usage[1].cached_tokens == 0);
  CHECK(usage[2].prompt_tokens == 5);
}

TEST_CASE("the same seed asks the same again, and none asks for none") {
  const auto seeds = [](std::optional<uint64_t> seed) {
    const Fanned fanned = Make();
    const auto sink = std::make_shared<RecordingSink>(0, 3);
    REQUIRE(fanned.backend->Generate(Ask(3, seed), sink).ok());
    std::vector<std::optional<uint64_t>> all;
    for (const auto& request : fanned.hands->requests) all.push_back(request.sampling.seed);
    return all;
  };
  CHECK(seeds(7) == seeds(7));
  CHECK(seeds(7) != seeds(8));
  CHECK(seeds(std::nullopt) == std::vector<std::optional<uint64_t>>(3));
}

TEST_CASE("one answer that fails ends the others, and is told once") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  REQUIRE(fanned.backend->Generate(Ask(3), sink).ok());
  fanned.hands->Say("r/0", "a");
  fanned.hands->End("r/2");
  fanned.hands->Fail("r/1");
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->failure() == base::Unavailable("away"));
  CHECK(fanned.hands->cancelled == std::set<std::string>{"r/0"});
  CHECK(sink->ends() == 2);  // one answer was whole
  CHECK(sink->finished()->index == 2);
}

TEST_CASE("refused is all or nothing, and nothing is told of it") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  fanned.hands->refuse_after = 2;
  fanned.hands->at_once = true;
  CHECK(absl::IsResourceExhausted(fanned.backend->Generate(Ask(3), sink).status()));
  CHECK(sink->ends() == 0);
  CHECK(fanned.hands->sinks.empty());
  // The id is free again.
  fanned.hands->refuse_after = -1;
  REQUIRE(fanned.backend->Generate(Ask(2), std::make_shared<RecordingSink>(0, 2)).ok());
}

TEST_CASE("what ends before all have begun is told when they have") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  fanned.hands->at_once = true;
  REQUIRE(fanned.backend->Generate(Ask(3), sink).ok());
  CHECK(sink->all_finished().size() == 3);
}

TEST_CASE("a cancelled request ends every answer, paused or not") {
  for (const bool paused : {false, true}) {
    CAPTURE(paused);
    const Fanned fanned = Make();
    const auto sink = std::make_shared<RecordingSink>(paused ? 1 : 0, 2);
    REQUIRE(fanned.backend->Generate(Ask(2), sink).ok());
    CHECK(fanned.hands->Say("r/0", "a") == (paused ? Flow::kPause : Flow::kContinue));
    fanned.hands->Say("r/1", "b");
    fanned.backend->Cancel("r");
    CHECK(fanned.hands->cancelled == std::set<std::string>{"r/0", "r/1"});
    REQUIRE(sink->all_finished().size() == 2);
    CHECK(sink->deltas().size() == (paused ? 1 : 2));
    for (const Finished& one : sink->all_finished()) {
      CHECK(one.reason == Finished::Reason::kCancelled);
    }
  }
}

TEST_CASE("a pause holds every answer back until the reader goes on") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(1, 2);
  REQUIRE(fanned.backend->Generate(Ask(2), sink).ok());
  CHECK(fanned.hands->Say("r/0", "a") == Flow::kPause);
  CHECK(fanned.hands->Say("r/1", "b") == Flow::kPause);
  CHECK(sink->deltas().size() == 1);
  fanned.backend->Resume("r");
  CHECK(sink->deltas().size() == 2);
  CHECK(fanned.hands->resumed == std::set<std::string>{"r/0", "r/1"});
}

TEST_CASE("a model that goes ends what a paused reader has not heard") {
  Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>(1, 2);
  REQUIRE(fanned.backend->Generate(Ask(2), sink).ok());
  fanned.hands->Say("r/0", "a");
  fanned.hands->End("r/1");
  fanned.backend.reset();
  CHECK(sink->all_finished().size() == 2);
}

TEST_CASE("one answer goes straight to the backend") {
  const Fanned fanned = Make();
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(fanned.backend->Generate(Ask(1, 7), sink).ok());
  CHECK(fanned.hands->requests.front().id == "r");
  fanned.backend->Resume("r");
  fanned.backend->Cancel("r");
  CHECK(fanned.hands->resumed == std::set<std::string>{"r"});
  CHECK(fanned.hands->cancelled == std::set<std::string>{"r"});
}

}  // namespace conclave::backends
