// A worker whose device has failed ends; one whose model is broken otherwise does not.
#include "worker/device_watch.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <utility>

#include "backends/scripted.h"
#include "base/status.h"
#include "engine/kernels/kernels.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

// Healthy until it is told otherwise.
class Frail final : public backends::Backend {
 public:
  explicit Frail(std::shared_ptr<std::atomic<int>> state) : state_(std::move(state)) {}

  absl::StatusOr<backends::Accepted> Generate(backends::GenerateRequest,
                                              std::shared_ptr<backends::EventSink>) override {
    return health();
  }
  void Cancel(std::string_view) override {}
  void Resume(std::string_view) override {}
  absl::StatusOr<backends::Tokenized> Tokenize(
      const std::variant<backends::ChatPrompt, backends::TextPrompt>&,
      const backends::TokenizeOptions&) const override {
    return health();
  }
  absl::StatusOr<std::string> Detokenize(std::span<const backends::TokenId>) const override {
    return health();
  }
  backends::Load load() const override { return {}; }
  absl::Status health() const override {
    if (*state_ == 0) return absl::OkStatus();
    const absl::Status away = base::Unavailable("away");
    return *state_ == 1 ? away : base::WithReason(away, engine::kDeviceFailed);
  }
  const backends::ModelDetails& details() const override { return details_; }
  void Drain(milliseconds) override {}

 private:
  const std::shared_ptr<std::atomic<int>> state_;
  const backends::ModelDetails details_;
};

}  // namespace

TEST_CASE("a failed device is told once, whatever else is wrong with models") {
  ModelHost host({});
  const auto state = std::make_shared<std::atomic<int>>(1);
  REQUIRE(host.Add("other", *backends::MakeScripted("{}")).ok());
  REQUIRE(host.Add("frail", std::make_unique<Frail>(state)).ok());
  std::promise<std::string> told;
  auto heard = told.get_future();
  const DeviceWatch watch(
      host, [&](const std::string& why) { told.set_value(why); }, milliseconds(1));
  CHECK_FALSE(watch.failed());
  *state = 2;
  REQUIRE(heard.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  CHECK(heard.get().find("frail") != std::string::npos);
  CHECK(watch.failed());
}

TEST_CASE("a watch over well devices ends when it is asked to") {
  ModelHost host({});
  bool told = false;
  {
    const DeviceWatch watch(host, [&](const std::string&) { told = true; });
  }
  CHECK_FALSE(told);
}

}  // namespace conclave::worker
