#include "gateway/upstream/registered_models.h"

#include <atomic>
#include <thread>

#include "catch2/catch.hpp"
#include "support/wait_until.h"

namespace conclave::gateway {

using support::WaitUntil;

TEST_CASE("what is registered is known by name and alias, and to be waited for") {
  std::mutex mutex;
  absl::StatusOr<v1::ListRegistrationsReply> reply = v1::ListRegistrationsReply();
  reply->add_registrations()->set_name("pirate");
  reply->mutable_registrations(0)->add_aliases("corsair");
  std::atomic<int> asked{0};
  RegisteredModels models(
      [&](RegisteredModels::Done done) {
        const std::lock_guard lock(mutex);
        ++asked;
        done(reply);
      },
      std::chrono::milliseconds(1));
  REQUIRE(WaitUntil([&] { return models.Find("pirate").has_value(); }));
  CHECK(models.Find("corsair")->name() == "pirate");
  CHECK(models.Find("pirate")->state() == v1::ModelStatus::STATE_LOADING);
  CHECK_FALSE(models.Find("ghost").has_value());
  // While the store is away, what it told before holds.
  {
    const std::lock_guard lock(mutex);
    reply = base::Unavailable("away");
    asked = 0;
  }
  REQUIRE(WaitUntil([&] { return asked > 1; }));
  CHECK(models.Find("pirate").has_value());
  {
    const std::lock_guard lock(mutex);
    reply = v1::ListRegistrationsReply();
  }
  CHECK(WaitUntil([&] { return !models.Find("pirate").has_value(); }));
}

TEST_CASE("an answer that never comes is waited for by nobody") {
  RegisteredModels::Done late;
  {
    std::atomic<int> asked{0};
    RegisteredModels models(
        [&](RegisteredModels::Done done) {
          late = std::move(done);
          ++asked;
        },
        std::chrono::milliseconds(1));
    CHECK(WaitUntil([&] { return asked == 1; }));
    CHECK_FALSE(models.Find("pirate").has_value());
  }
  late(v1::ListRegistrationsReply());
}

}  // namespace conclave::gateway
