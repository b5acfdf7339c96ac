#include "gateway/upstream/services.h"

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

std::string TraceparentOf(const std::string& header) {
  Request request;
  request.head.fields.push_back({"traceparent", header});
  return MetaOf(request).traceparent();
}

class OneModel final : public ModelDirectory {
 public:
  std::vector<v1::ModelStatus> List() const override { return {model}; }
  Call<v1::ListModelsReply> Ask(base::SteadyTime) override { return nullptr; }
  Call<v1::ListModelsReply> Describe(const std::string&, base::SteadyTime) override {
    return nullptr;
  }
  v1::ModelStatus model;
};

}  // namespace

TEST_CASE("a well-formed traceparent is passed on, anything else is not") {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  CHECK(TraceparentOf(good) == good);
  CHECK(TraceparentOf("").empty());
  CHECK(TraceparentOf(good + "0").empty());
  CHECK(TraceparentOf("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").empty());
  CHECK(TraceparentOf("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01").empty());
  // A header may hold any byte; one that is not UTF-8 would make the whole message unreadable.
  CHECK(TraceparentOf("00-\xff"
                      "bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .empty());
}

TEST_CASE(
    "a model that was loaded and is away may come back, one that could not be loaded may not") {
  OneModel models;
  models.model.set_name("m");
  models.model.set_state(v1::ModelStatus::STATE_FAILED);
  models.model.set_error("UNAVAILABLE: the remote server cannot be reached");
  CHECK(absl::IsFailedPrecondition(models.FindReady("m", true).status()));
  models.model.mutable_details()->set_backend("remote::openai");
  const absl::Status away = models.FindReady("m", true).status();
  CHECK(absl::IsUnavailable(away));
  CHECK(base::ReasonOf(away) == "model_unreachable");
  CHECK(base::RetryAfterOf(away).count() > 0);
  models.model.set_error("INTERNAL: the device failed");
  CHECK(absl::IsFailedPrecondition(models.FindReady("m", true).status()));
}

TEST_CASE("a model that is not in memory can be called, one that is loading by who may wait") {
  OneModel models;
  models.model.set_name("m");
  models.model.add_capabilities("completion");
  models.model.set_state(v1::ModelStatus::STATE_UNLOADED);
  CHECK(models.FindReady("m", false).ok());
  models.model.set_state(v1::ModelStatus::STATE_LOADING);
  models.model.set_progress(0.25);
  CHECK(models.FindReady("m", true).ok());
  const absl::Status loading = models.FindReady("m", false).status();
  CHECK(base::ReasonOf(loading) == "model_loading");
  CHECK(loading.message() == "the model `m` is loading (25 %)");
  // Nobody has looked into its file yet.
  models.model.clear_capabilities();
  CHECK(base::ReasonOf(models.FindReady("m", true).status()) == "model_loading");
}

}  // namespace conclave::gateway
