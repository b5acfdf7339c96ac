#include "embed/embed_worker.h"

#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace conclave::embed {
namespace {

uint64_t NewEpoch() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

std::string WorkerId(std::string given, const std::string& listen) {
  if (!given.empty()) return given;
  char name[256] = "embed";
  gethostname(name, sizeof name - 1);
  return absl::StrCat(name, listen.substr(listen.rfind(':')));
}

}  // namespace

EmbedWorker::EmbedWorker(std::unique_ptr<ServedModel> model, const mesh::ServerOptions& server,
                         std::string worker_id)
    : model_(std::move(model)),
      server_(server),
      embedding_(model_.get(), &server_.gate(), MakeEmbedMetrics(&metrics_, model_->name())),
      worker_(model_.get(), WorkerId(std::move(worker_id), server.listen), NewEpoch()) {
  const base::MetricLabels labels = {{"model_name", model_->name()}};
  waiting_ = metrics_.AddGauge("vllm:num_requests_waiting", "Requests in the queue.", labels);
  running_ =
      metrics_.AddGauge("vllm:num_requests_running", "Requests in the batch at hand.", labels);
  metrics_.OnCollect([this] { Collect(); });
}

EmbedWorker::~EmbedWorker() { Stop(); }

void EmbedWorker::Collect() {
  const BatcherStats stats = model_->batcher().stats();
  waiting_.Set(stats.waiting);
  running_.Set(stats.running);
}

absl::Status EmbedWorker::Start() {
  server_.AddService(&embedding_);
  server_.AddService(&worker_);
  RETURN_IF_ERROR(server_.Start());
  server_.SetReady(true);
  worker_.SetState(true, false);
  base::LogInfo("embedding worker serves", {{"model", model_->name()}, {"port", port()}});
  return absl::OkStatus();
}

void EmbedWorker::NotReady() {
  worker_.SetState(false, true);
  server_.SetReady(false);
}

bool EmbedWorker::Drain(base::SteadyTime deadline) {
  NotReady();
  return server_.Drain(deadline);
}

// The batcher before the listener: it answers what still waits, so that no call stays open.
void EmbedWorker::Stop() {
  model_->batcher().Stop();
  server_.Stop();
}

}  // namespace conclave::embed
