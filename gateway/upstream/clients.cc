#include "gateway/upstream/clients.h"

#include <utility>

#include "gateway/upstream/mesh_calls.h"
#include "gateway/upstream/model_directory.h"
#include "gateway/upstream/model_files.h"
#include "gateway/upstream/registered_models.h"
#include "gateway/upstream/worker_admin.h"

namespace conclave::gateway {
namespace {

class MeshInference final : public InferenceUpstream {
 public:
  MeshInference(mesh::Discovery* discovery, base::Metrics* metrics)
      : client_(discovery, mesh::InferenceClientOptions{}, metrics) {}

  Call<v1::GenerateEvent> Generate(v1::GenerateRequest request,
                                   base::SteadyTime deadline) override {
    using GenerateRelay = Relay<mesh::GenerateObserver, v1::GenerateEvent, mesh::GenerateCall>;
    return Streamed<GenerateRelay, v1::GenerateEvent>([&](std::shared_ptr<GenerateRelay> relay) {
      return client_.Generate(std::move(request), {.deadline = deadline}, std::move(relay));
    });
  }

  Call<v1::TokenizeReply> Tokenize(v1::TokenizeRequest request,
                                   base::SteadyTime deadline) override {
    return Unary<v1::TokenizeReply>([&](auto done) {
      return client_.Tokenize(std::move(request), {.deadline = deadline}, std::move(done));
    });
  }

  Call<v1::DetokenizeReply> Detokenize(v1::DetokenizeRequest request,
                                       base::SteadyTime deadline) override {
    return Unary<v1::DetokenizeReply>([&](auto done) {
      return client_.Detokenize(std::move(request), {.deadline = deadline}, std::move(done));
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

class MeshEmbedding final : public EmbeddingUpstream {
 public:
  MeshEmbedding(mesh::Discovery* discovery, base::Metrics* metrics) : client_(discovery, metrics) {}

  Call<Embeddings> Embed(v1::EmbedRequest request, base::SteadyTime deadline) override {
    return Unary<Embeddings>([&](auto done) {
      return client_.Embed(std::move(request), {.deadline = deadline},
                           [done](absl::StatusOr<mesh::EmbedResult> result) mutable {
                             if (!result.ok()) return done(result.status());
                             Embeddings embeddings;
                             embeddings.vectors = std::move(result->vectors);
                             embeddings.usage = std::move(result->usage);
                             embeddings.timings = std::move(result->timings);
                             done(std::move(embeddings));
                           });
    });
  }

  Call<v1::RerankReply> Rerank(v1::RerankRequest request, base::SteadyTime deadline) override {
    return Unary<v1::RerankReply>([&](auto done) {
      return client_.Rerank(std::move(request), {.deadline = deadline}, std::move(done));
    });
  }

 private:
  mesh::EmbeddingClient client_;
};

class MeshStore final : public StoreUpstream {
 public:
  explicit MeshStore(std::unique_ptr<mesh::StoreClient> client) : client_(std::move(client)) {}

#define CONCLAVE_MESH_STORE(Method, Request, Reply)                                        \
  Call<v1::Reply> Method(v1::Request request, base::SteadyTime deadline) override {        \
    return Unary<v1::Reply>([&](auto done) {                                               \
      return client_->Method(std::move(request), {.deadline = deadline}, std::move(done)); \
    });                                                                                    \
  }
  CONCLAVE_GATEWAY_STORE_CALLS(CONCLAVE_MESH_STORE)
#undef CONCLAVE_MESH_STORE

  Call<v1::RunEvent> StreamRun(v1::StreamRunRequest request, base::SteadyTime deadline) override {
    using RunRelay = Relay<mesh::RunObserver, v1::RunEvent, mesh::RunStream>;
    return Streamed<RunRelay, v1::RunEvent>([&](std::shared_ptr<RunRelay> relay) {
      return client_->StreamRun(std::move(request), {.deadline = deadline}, std::move(relay));
    });
  }

  bool Connected() override { return client_->Connected(); }
  mesh::StoreClient& client() { return *client_; }

 private:
  const std::unique_ptr<mesh::StoreClient> client_;
};

constexpr std::chrono::seconds kNamesDeadline{5};

std::function<void(RegisteredModels::Done)> AskFor(mesh::StoreClient& client) {
  return [&client](RegisteredModels::Done done) {
    v1::ListRegistrationsRequest request;
    request.set_names_only(true);
    client.ListRegistrations(std::move(request),
                             {.deadline = std::chrono::steady_clock::now() + kNamesDeadline},
                             std::move(done));
  };
}

}  // namespace

// In the order of need: discovery outlives the clients over it.
struct Clients::Impl {
  std::unique_ptr<mesh::Discovery> inference_workers;
  std::unique_ptr<mesh::Discovery> embedding_workers;
  std::unique_ptr<MeshStore> store;
  std::unique_ptr<RegisteredModels> registered;  // over store
  std::unique_ptr<FleetDirectory> models;
  std::unique_ptr<FleetAdmin> workers;
  std::unique_ptr<FleetFiles> files;
  std::unique_ptr<MeshInference> inference;
  std::unique_ptr<MeshEmbedding> embedding;
};

absl::StatusOr<std::unique_ptr<Clients>> Clients::Open(const UpstreamOptions& options,
                                                       base::Metrics* metrics) {
  auto impl = std::make_unique<Impl>();
  mesh::DiscoveryOptions workers;
  workers.tls = options.tls;
  workers.metrics = metrics;
  workers.targets = options.inference_workers;
  ASSIGN_OR_RETURN(impl->inference_workers, mesh::Discovery::Start(workers));
  impl->inference = std::make_unique<MeshInference>(impl->inference_workers.get(), metrics);
  if (!options.embedding_workers.empty()) {
    workers.targets = options.embedding_workers;
    workers.kind = "embedding";
    ASSIGN_OR_RETURN(impl->embedding_workers, mesh::Discovery::Start(workers));
    impl->embedding = std::make_unique<MeshEmbedding>(impl->embedding_workers.get(), metrics);
  }
  if (!options.store.empty()) {
    ASSIGN_OR_RETURN(auto store, mesh::StoreClient::Open(options.store, options.tls));
    impl->store = std::make_unique<MeshStore>(std::move(store));
    impl->registered = std::make_unique<RegisteredModels>(AskFor(impl->store->client()));
  }
  impl->models = std::make_unique<FleetDirectory>(
      impl->inference_workers.get(), impl->embedding_workers.get(), impl->registered.get());
  impl->workers =
      std::make_unique<FleetAdmin>(impl->inference_workers.get(), impl->embedding_workers.get());
  impl->files = std::make_unique<FleetFiles>(impl->inference_workers.get());
  return std::unique_ptr<Clients>(new Clients(std::move(impl)));
}

Clients::Clients(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Clients::~Clients() = default;

void Clients::Stop() { impl_->inference->Stop(); }

InferenceUpstream& Clients::inference() { return *impl_->inference; }
EmbeddingUpstream* Clients::embedding() { return impl_->embedding.get(); }
StoreUpstream* Clients::store() { return impl_->store.get(); }
ModelDirectory& Clients::models() { return *impl_->models; }
WorkerAdmin& Clients::workers() { return *impl_->workers; }
ModelFiles& Clients::files() { return *impl_->files; }

}  // namespace conclave::gateway
