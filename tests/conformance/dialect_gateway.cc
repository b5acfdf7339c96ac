#include "conformance/dialect_gateway.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/dialect.h"
#include "gateway/http/front_door.h"
#include "gateway/upstream/mesh_calls.h"
#include "gateway/upstream/model_directory.h"
#include "mesh/discovery.h"
#include "mesh/inference_client.h"
#include "support/gateway_harness.h"
#include "support/scripted_worker.h"

namespace conclave::gateway {
namespace {

using base::JsonValue;

constexpr std::chrono::seconds kPatience{10};
constexpr int kDimensions = 4;

template <typename T>
T Must(absl::StatusOr<T> value) {
  INFO(value.status().ToString());
  REQUIRE(value.ok());
  return *std::move(value);
}

std::string TextOr(JsonValue value, std::string fallback) {
  return Must(value.OptionalString()).value_or(std::move(fallback));
}

std::vector<std::string> Strings(JsonValue array) {
  std::vector<std::string> strings;
  for (size_t i = 0; i < array.size(); ++i) strings.push_back(Must(array.At(i).AsString()));
  return strings;
}

// Durations a worker measured become these; everything else passes.
class HeldTimings final : public mesh::GenerateObserver {
 public:
  explicit HeldTimings(std::shared_ptr<mesh::GenerateObserver> next) : next_(std::move(next)) {}
  void OnEvent(v1::GenerateEvent& event) override {
    if (event.has_finished()) {
      v1::Timings* timings = event.mutable_finished()->mutable_timings();
      timings->set_queue_ms(0);
      timings->set_load_ms(0.5);
      timings->set_prefill_ms(2);
      timings->set_decode_ms(3.5);
      timings->set_total_ms(6);
    }
    next_->OnEvent(event);
  }
  void OnDone(const absl::Status& status) override { next_->OnDone(status); }

 private:
  const std::shared_ptr<mesh::GenerateObserver> next_;
};

class MeshInference final : public InferenceUpstream {
 public:
  explicit MeshInference(mesh::Discovery* workers) : client_(workers, {}) {}

  Call<v1::GenerateEvent> Generate(v1::GenerateRequest request,
                                   base::SteadyTime deadline) override {
    using GenerateRelay = Relay<mesh::GenerateObserver, v1::GenerateEvent, mesh::GenerateCall>;
    return Streamed<GenerateRelay, v1::GenerateEvent>([&](std::shared_ptr<GenerateRelay> relay) {
      return client_.Generate(std::move(request), {.deadline = deadline},
                              std::make_shared<HeldTimings>(std::move(relay)));
    });
  }

  Call<v1::DetokenizeReply> Detokenize(v1::DetokenizeRequest request,
                                       base::SteadyTime deadline) override {
    return Unary<v1::DetokenizeReply>([&](auto done) {
      return client_.Detokenize(std::move(request), {.deadline = deadline}, std::move(done));
    });
  }

  Call<v1::TokenizeReply> Tokenize(v1::TokenizeRequest request,
                                   base::SteadyTime deadline) override {
    return Unary<v1::TokenizeReply>([&](auto done) {
      return client_.Tokenize(std::move(request), {.deadline = deadline}, std::move(done));
    });
  }

  Call<v1::PredictReply> Predict(v1::PredictRequest request, base::SteadyTime deadline) override {
    return Unary<v1::PredictReply>([&](auto done) {
      return client_.Predict(std::move(request), {.deadline = deadline}, std::move(done));
    });
  }

  void Stop() { client_.Stop(); }

 private:
  mesh::InferenceClient client_;
};

// Answers as an embedding worker with four dimensions would, with vectors of its own invention: a
// float32 of every kind that is written differently.
class MadeUpVectors final : public EmbeddingUpstream {
 public:
  Call<Embeddings> Embed(v1::EmbedRequest request, base::SteadyTime) override {
    constexpr float kValues[kDimensions] = {0.1f, -1.0f, 3e-9f, 0.33333334f};
    if (request.dimensions() > kDimensions) {
      return Played(std::vector<Embeddings>(),
                    base::InvalidArgument("dimensions: must be between 1 and 4"));
    }
    Embeddings reply;
    int tokens = 0;
    for (int i = 0; i < request.inputs_size(); ++i) {
      const v1::EmbedInput& input = request.inputs(i);
      tokens +=
          input.has_text() ? static_cast<int>(input.text().size()) : input.token_ids().ids_size();
      v1::EmbeddingVector& vector = reply.vectors.emplace_back();
      const int dimensions = request.dimensions() > 0 ? request.dimensions() : kDimensions;
      for (int d = 0; d < dimensions; ++d) {
        vector.add_values(kValues[d] * static_cast<float>(i + 1));
      }
    }
    reply.usage.set_prompt_tokens(tokens);
    reply.timings.set_load_ms(0.5);
    reply.timings.set_total_ms(6);
    return Played(std::vector<Embeddings>{std::move(reply)}, absl::OkStatus());
  }

  // The more a document has of the query's first letter, the better it is.
  Call<v1::RerankReply> Rerank(v1::RerankRequest request, base::SteadyTime) override {
    v1::RerankReply reply;
    int tokens = 0;
    for (const std::string& document : request.documents()) {
      const auto hits = std::count(document.begin(), document.end(), request.query()[0]);
      reply.add_scores()->set_score(static_cast<float>(hits) / 4);
      tokens += static_cast<int>(request.query().size() + document.size());
    }
    reply.mutable_usage()->set_prompt_tokens(tokens);
    return Played(std::vector<v1::RerankReply>{std::move(reply)}, absl::OkStatus());
  }
};

absl::Status ReadError(JsonValue error) {
  static const std::map<std::string, absl::StatusCode> kCodes = {
      {"INVALID_ARGUMENT", absl::StatusCode::kInvalidArgument},
      {"NOT_FOUND", absl::StatusCode::kNotFound},
      {"FAILED_PRECONDITION", absl::StatusCode::kFailedPrecondition},
      {"UNAVAILABLE", absl::StatusCode::kUnavailable},
  };
  const absl::Status status(kCodes.at(Must(error.Get("code").AsString())),
                            TextOr(error.Get("message"), ""));
  return base::WithParam(base::WithReason(status, TextOr(error.Get("reason"), "")),
                         TextOr(error.Get("param"), ""));
}

void ReadStore(JsonValue store, FakeStore* out) {
  store.ForEachMember([out](std::string_view method, JsonValue reply) {
    if (method == "events") {
      out->run_events = Strings(reply);
    } else if (reply.is_string()) {
      out->replies[std::string(method)] = Must(reply.AsString());
    } else {
      out->errors[std::string(method)] = ReadError(reply.Get("error"));
    }
  });
}

void ReadFiles(JsonValue files, FakeFiles* out) {
  files.Get("blobs").ForEachMember([out](std::string_view digest, JsonValue bytes) {
    out->blobs[std::string(digest)] = Must(bytes.AsString());
  });
  out->pull = Strings(files.Get("pull"));
  if (!files.Get("error").missing()) out->refusal = ReadError(files.Get("error"));
}

void ReadWorkers(JsonValue workers, FakeAdmin* out) {
  const std::string providers = TextOr(workers.Get("providers"), "");
  out->providers = Proto<v1::ListProvidersReply>(providers);
  if (!workers.Get("kept").missing()) {
    out->kept = Proto<v1::KeepModelReply>(Must(workers.Get("kept").AsString()));
  }
  if (!workers.Get("plans").missing()) out->plans.workers.clear();
  workers.Get("plans").ForEachMember([out](std::string_view worker, JsonValue plan) {
    ModelPlans::One& one = out->plans.workers.emplace_back();
    one.worker_id = std::string(worker);
    if (plan.is_string()) {
      one.plan = Proto<v1::MemoryPlan>(Must(plan.AsString()));
    } else {
      one.plan = ReadError(plan.Get("error"));
    }
  });
  workers.Get("experts").ForEachMember([out](std::string_view model, JsonValue placements) {
    out->experts[std::string(model)] = Proto<v1::GetExpertsReply>(Must(placements.AsString()));
  });
  workers.Get("slots").ForEachMember([out](std::string_view model, JsonValue slots) {
    out->slots[std::string(model)] = Proto<v1::CountSlotsReply>(Must(slots.AsString()));
  });
  workers.Get("logs").ForEachMember([out](std::string_view model, JsonValue entries) {
    out->logs[std::string(model)] = Proto<v1::GetModelLogsReply>(Must(entries.AsString()));
  });
}

}  // namespace

// In the order of need, so that what is used is destroyed after its user.
struct DialectGateway::Impl {
  explicit Impl(JsonValue setup);
  ~Impl();
  void StartWorker(JsonValue models);
  void Wire(JsonValue server);

  StoppedClock clock;
  std::optional<tests::ScriptedWorker> worker;
  std::unique_ptr<mesh::Discovery> workers;
  std::unique_ptr<FleetDirectory> models;
  std::unique_ptr<MeshInference> inference;
  MadeUpVectors embedding;
  FakeStore store;
  FakeFiles files;
  FakeAdmin admin;
  Admission admission{AdmissionOptions{}};
  FrontMetrics metrics{nullptr};
  std::atomic<int> ids{0};
  Services services;
  Router router;
  std::optional<Filters> filters;
  std::optional<FrontDoor> door;
  base::EventLoops loops{1, "io"};
  std::optional<HttpServer> server;
};

void DialectGateway::Impl::StartWorker(JsonValue models_json) {
  size_t num_models = 2;
  if (models_json.missing()) {
    worker.emplace("{}", tests::ScriptedWorkerOptions{.model = "teacher", .clock = &clock});
    worker->Add("minilm", R"({"capabilities":["embedding"]})");
  } else {
    num_models = models_json.size();
    models_json.ForEachMember([this](std::string_view name, JsonValue script) {
      if (worker) return worker->Add(std::string(name), script.ToJson());
      worker.emplace(script.ToJson(),
                     tests::ScriptedWorkerOptions{.model = std::string(name), .clock = &clock});
    });
  }
  workers = Must(mesh::Discovery::Start({.targets = {worker->address()}}));
  models = std::make_unique<FleetDirectory>(workers.get(), nullptr);
  const auto all_ready = [num_models](const mesh::Fleet& fleet) {
    const auto known = fleet.Models();
    return known.size() == num_models && std::all_of(known.begin(), known.end(), [](const auto& m) {
             return m.state() == v1::ModelStatus::STATE_READY;
           });
  };
  REQUIRE(workers->WaitFor(all_ready, kPatience));
  inference = std::make_unique<MeshInference>(workers.get());
}

void DialectGateway::Impl::Wire(JsonValue options) {
  const base::IdSource next_id = [this](std::string_view prefix) {
    const std::string count = std::to_string(++ids);
    return std::string(prefix) + std::string(32 - count.size(), '0') + count;
  };
  services.inference = inference.get();
  services.embedding = &embedding;
  const bool with_store = Must(options.Get("store").OptionalBool()).value_or(true);
  services.store = with_store ? &store : nullptr;
  services.models = models.get();
  services.files = &files;
  services.times.load_wait = std::chrono::milliseconds(0);  // what loads is said to load at once
  services.times.directory = std::chrono::milliseconds(0);  // nobody's workers change here
  services.workers = &admin;
  services.admission = &admission;
  services.metrics = &metrics;
  services.clock = &clock;
  services.new_id = next_id;
  services.default_model = TextOr(options.Get("default_model"), "");
  services.default_system_prompt = TextOr(options.Get("default_system_prompt"), "");
  services.commit = "0123456";
  services.metrics_text = [] { return std::string("conclave_example 1\n"); };
  const bool draining = Must(options.Get("draining").OptionalBool()).value_or(false);
  services.draining = [draining] { return draining; };
  for (const Dialect& dialect : AllDialects()) dialect.add_routes(router, services);
  FilterOptions filter_options;
  filter_options.api_keys = Strings(options.Get("api_keys"));
  filter_options.profile_keys = Strings(options.Get("compat_keys"));
  filter_options.allowed_origins = Strings(options.Get("allowed_origins"));
  filter_options.admin_keys = Strings(options.Get("admin_keys"));
  filter_options.admin_open = Must(options.Get("admin_open").OptionalBool()).value_or(false);
  filters = Must(Filters::Make(filter_options));
  const auto profile = FindCompatProfile(TextOr(options.Get("profile"), "strict"));
  REQUIRE(profile);
  door.emplace(&router, &*filters, &metrics, next_id, *profile);
  server.emplace(&*door, HttpLimits{}, &loops);
  REQUIRE(server->Start("127.0.0.1:0").ok());
}

DialectGateway::Impl::Impl(JsonValue setup) {
  base::SetLogLevel(base::LogLevel::kError);  // a line for each request would drown the report
  StartWorker(setup.Get("models"));
  ReadStore(setup.Get("store"), &store);
  ReadFiles(setup.Get("files"), &files);
  ReadWorkers(setup.Get("workers"), &admin);
  Wire(setup.Get("server"));
}

DialectGateway::Impl::~Impl() {
  if (server) server->Stop();
  if (inference) inference->Stop();
  loops.Stop();
}

DialectGateway::DialectGateway(JsonValue setup) : impl_(std::make_unique<Impl>(setup)) {}
DialectGateway::~DialectGateway() = default;

uint16_t DialectGateway::port() const { return impl_->server->port(); }
const Router& DialectGateway::router() const { return impl_->router; }

}  // namespace conclave::gateway
