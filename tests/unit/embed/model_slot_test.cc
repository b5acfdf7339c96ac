#include "embed/model_slot.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "support/held_clock.h"
#include "support/wait_until.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

using std::chrono::milliseconds;
using State = ModelSlot::State;

absl::StatusOr<std::unique_ptr<ServedModel>> Tiny() {
  return OpenServedModel("tiny", {"alias"}, TinyBertFolder(), {.num_threads = 1}, {});
}

// Counts how often the model was opened again.
struct Opener {
  std::atomic<int> count{0};
  absl::Status failure;
  SlotOptions options(const base::Clock& clock, milliseconds keep_alive = kForever) {
    return {.open = [this]() -> absl::StatusOr<std::unique_ptr<ServedModel>> {
              ++count;
              if (!failure.ok()) return failure;
              return Tiny();
            },
            .keep_alive = keep_alive,
            .clock = &clock,
            .keeper_period = milliseconds(1)};
  }
};

bool Reaches(const ModelSlot& slot, State state) {
  return support::WaitUntil([&] { return slot.status().state == state; });
}

}  // namespace

TEST_CASE("a model goes when its time is over and comes back when it is asked for") {
  HeldClock clock;
  Opener opener;
  ModelSlot slot(*Tiny(), opener.options(clock, milliseconds(5'000)));
  {
    const auto use = slot.Use(std::nullopt);
    REQUIRE(use.ok());
    CHECK(slot.status().expires_unix_ms == clock.UnixMillis() + 5'000);
    clock.Advance(milliseconds(60'000));
    CHECK(use->model().facts().name == "tiny");  // whoever uses it keeps it
  }
  CHECK(slot.status().state == State::kReady);
  clock.Advance(milliseconds(5'000));
  REQUIRE(Reaches(slot, State::kUnloaded));
  CHECK(slot.facts().info.dimensions > 0);
  CHECK(slot.status().expires_unix_ms == 0);
  CHECK(opener.count == 0);
  const auto again = slot.Use(std::nullopt);
  REQUIRE(again.ok());
  CHECK(opener.count == 1);
  CHECK(again->model().Prepare("hello", Truncate::kEnd, "input").ok());
}

TEST_CASE("a request's own keep-alive holds until another says otherwise") {
  HeldClock clock;
  Opener opener;
  ModelSlot slot(*Tiny(), opener.options(clock));
  CHECK(slot.status().expires_unix_ms == 0);
  { REQUIRE(slot.Use(milliseconds(1'000)).ok()); }
  { REQUIRE(slot.Use(std::nullopt).ok()); }
  CHECK(slot.status().expires_unix_ms == clock.UnixMillis() + 1'000);
  { REQUIRE(slot.Use(kForever).ok()); }
  CHECK(slot.status().expires_unix_ms == 0);
  { REQUIRE(slot.Use(milliseconds(0)).ok()); }
  REQUIRE(Reaches(slot, State::kUnloaded));
  // It is as configured again: for ever.
  { REQUIRE(slot.Use(std::nullopt).ok()); }
  CHECK(slot.status().state == State::kReady);
  CHECK(slot.status().expires_unix_ms == 0);
}

TEST_CASE("a model that is let go of has gone, unless somebody uses it") {
  HeldClock clock;
  Opener opener;
  ModelSlot slot(*Tiny(), opener.options(clock));
  {
    const auto use = slot.Use(std::nullopt);
    REQUIRE(use.ok());
    CHECK(*slot.LetGo(milliseconds(10'000)));
    CHECK(slot.status().state == State::kReady);
  }
  REQUIRE(Reaches(slot, State::kUnloaded));
  CHECK_FALSE(*slot.LetGo(milliseconds(10'000)));
  { REQUIRE(slot.Use(std::nullopt).ok()); }
  CHECK_FALSE(*slot.LetGo(milliseconds(10'000)));
  CHECK(slot.status().state == State::kUnloaded);
}

TEST_CASE("many callers share one load, and a failed one is told to each") {
  HeldClock clock;
  Opener opener;
  ModelSlot slot(*Tiny(), opener.options(clock));
  REQUIRE_FALSE(*slot.LetGo(milliseconds(10'000)));
  std::atomic<int> served{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 8; ++i) {
      callers.emplace_back([&] { served += slot.Use(std::nullopt).ok() ? 1 : 0; });
    }
  }
  CHECK(served == 8);
  CHECK(opener.count == 1);
  REQUIRE_FALSE(*slot.LetGo(milliseconds(10'000)));
  opener.failure = absl::NotFoundError("the file has gone");
  CHECK(absl::IsNotFound(slot.Use(std::nullopt).status()));
  CHECK(slot.status().state == State::kUnloaded);
  opener.failure = absl::OkStatus();
  CHECK(slot.Use(std::nullopt).ok());
}

TEST_CASE("a model that cannot come back stays, and a stopped slot gives none") {
  ModelSlot slot(*Tiny());
  { REQUIRE(slot.Use(milliseconds(0)).ok()); }
  CHECK(base::ReasonOf(slot.LetGo(milliseconds(0)).status()) == "model_pinned");
  CHECK(slot.status().state == State::kReady);
  slot.Stop();
  CHECK(absl::IsUnavailable(slot.Use(std::nullopt).status()));
}

}  // namespace conclave::embed
