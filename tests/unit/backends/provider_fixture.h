// Opens providers and their models from JSON, for the tests of every provider type.
#pragma once

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <string>

#include "backends/provider.h"
#include "unit/backends/recording_sink.h"

namespace conclave::backends {

inline absl::StatusOr<std::unique_ptr<Provider>> MakeProvider(const std::string& type,
                                                              const std::string& config) {
  const auto document = base::JsonDocument::Parse(config);
  REQUIRE(document.ok());
  return OpenProvider(type, {.id = "p", .settings = document->root()});
}

// A provider with one of its models. The model goes first.
struct Opened {
  std::unique_ptr<Provider> provider;
  std::shared_ptr<ModelLog> log = std::make_shared<ModelLog>();
  std::unique_ptr<Backend> backend;
};

inline Opened OpenModel(const std::string& type, const std::string& config,
                        const std::string& model_id) {
  Opened opened;
  auto provider = MakeProvider(type, config);
  INFO(provider.status().ToString());
  REQUIRE(provider.ok());
  opened.provider = *std::move(provider);
  auto backend = opened.provider->Open(
      {.name = "ours", .model_id = model_id, .config_json = "", .log = opened.log});
  INFO(backend.status().ToString());
  REQUIRE(backend.ok());
  opened.backend = *std::move(backend);
  return opened;
}

inline GenerateRequest AskChat(const std::string& id, const std::string& content = "hi") {
  GenerateRequest request;
  request.id = id;
  ChatPrompt chat;
  chat.conversation.messages.push_back({.role = "user", .content = content});
  request.prompt = std::move(chat);
  return request;
}

inline std::future<absl::StatusOr<std::string>> AskPredict(Backend& backend, const std::string& id,
                                                           const std::string& body) {
  const auto promise = std::make_shared<std::promise<absl::StatusOr<std::string>>>();
  backend.Predict({.id = id, .body = body}, [promise](absl::StatusOr<std::string> reply) {
    promise->set_value(std::move(reply));
  });
  return promise->get_future();
}

}  // namespace conclave::backends
