#include "embed/embed_worker.h"

#include <sys/resource.h>
#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/sha256.h"

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
                         std::string worker_id, EmbedWorkerOptions options)
    : slot_(std::move(model), std::move(options.slot)),
      server_(server),
      embedding_(&slot_, &server_.gate(), MakeEmbedMetrics(&metrics_, slot_.facts().name)),
      worker_(&slot_, WorkerId(std::move(worker_id), server.listen), NewEpoch()),
      digest_files_(std::move(options.digest_files)) {
  const base::MetricLabels labels = {{"model_name", slot_.facts().name}};
  waiting_ = metrics_.AddGauge("vllm:num_requests_waiting", "Requests in the queue.", labels);
  running_ =
      metrics_.AddGauge("vllm:num_requests_running", "Requests in the batch at hand.", labels);
  metrics_.OnCollect([this] { Collect(); });
}

EmbedWorker::~EmbedWorker() { Stop(); }

void EmbedWorker::Collect() {
  const BatcherStats stats = slot_.stats();
  waiting_.Set(stats.waiting);
  running_.Set(stats.running);
}

absl::Status EmbedWorker::Start() {
  server_.AddService(&embedding_);
  server_.AddService(&worker_);
  RETURN_IF_ERROR(server_.Start());
  server_.SetReady(true);
  worker_.SetState(true, false);
  if (!digest_files_.empty()) {
    digester_ = std::jthread([this](const std::stop_token& stop) {
      setpriority(PRIO_PROCESS, 0, 19);  // of this thread: nobody waits for a digest
      absl::StatusOr<std::string> digest = base::Sha256Digest(digest_files_, stop);
      if (digest.ok()) worker_.SetDigest(*std::move(digest));
    });
  }
  base::LogInfo("embedding worker serves", {{"model", slot_.facts().name}, {"port", port()}});
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
  digester_.request_stop();
  slot_.Stop();
  server_.Stop();
}

}  // namespace conclave::embed
