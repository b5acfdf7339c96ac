#include "worker/worker.h"

#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/placement/plan.h"
#include "worker/http_pull_source.h"

namespace conclave::worker {
namespace {

// The rest is for prompts, tokenizers and answers, and for whoever else is on the machine.
constexpr int64_t kMemoryBudgetPercent = 90;

// What is uploaded or pulled can be loaded.
WorkerOptions Complete(WorkerOptions options) {
  if (options.host.memory_budget == 0) {
    options.host.memory_budget = engine::AvailableMemoryBytes() / 100 * kMemoryBudgetPercent;
  }
  if (!options.blob_dir.empty()) options.host.folders.push_back(options.blob_dir);
  return options;
}

WorkerIdentity MakeIdentity(const WorkerOptions& options) {
  std::random_device random;
  const uint64_t epoch = (uint64_t{random()} << 32) | random();
  if (!options.worker_id.empty()) return {options.worker_id, epoch};
  char name[256] = "worker";
  gethostname(name, sizeof name - 1);
  const std::string& listen = options.server.listen;
  return {absl::StrCat(name, listen.substr(listen.rfind(':'))), epoch};
}

}  // namespace

Worker::Worker(WorkerOptions options)
    : options_(Complete(std::move(options))),
      identity_(MakeIdentity(options_)),
      host_(options_.host),
      worker_metrics_(&metrics_, &host_),
      server_(options_.server),
      inference_(std::make_unique<InferenceService>(&host_, &worker_metrics_, &server_.gate(),
                                                    identity_, options_.stream)),
      models_(std::make_unique<ModelsService>(&host_, identity_)),
      slots_(std::make_unique<SlotsService>(&host_)) {}

Worker::~Worker() { Stop(); }

absl::Status Worker::OpenFiles() {
  if (!options_.blob_dir.empty()) {
    ASSIGN_OR_RETURN(blobs_, BlobStore::Open(options_.blob_dir, options_.blob_bytes_max));
    std::vector<std::unique_ptr<PullSource>> sources;
    for (const std::string& text : options_.pull_from) {
      const bool is_url = text.find("://") != std::string::npos;
      ASSIGN_OR_RETURN(std::unique_ptr<PullSource> source,
                       is_url ? OpenHttpSource(text) : OpenFolderSource(text));
      sources.push_back(std::move(source));
    }
    puller_ = std::make_unique<Puller>(blobs_.get(), std::move(sources));
  }
  files_ = std::make_unique<FilesService>(blobs_.get(), puller_.get());
  collector_ = std::make_unique<BlobsService>(blobs_.get(), &host_, options_.blob_unnamed_for);
  return absl::OkStatus();
}

absl::Status Worker::Start() {
  RETURN_IF_ERROR(OpenFiles());
  server_.AddService(inference_.get());
  server_.AddService(models_.get());
  server_.AddService(slots_.get());
  server_.AddService(files_.get());
  server_.AddService(collector_.get());
  RETURN_IF_ERROR(server_.Start());
  server_.SetReady(true);
  models_->SetState(true, false);
  base::LogInfo("worker serves", {{"worker", identity_.worker_id}, {"port", port()}});
  return absl::OkStatus();
}

std::string Worker::WhyNotReady() const {
  if (!server_.ready()) return "not serving";
  std::string failure;
  bool any_ready = false;
  for (const auto& model : host_.List()) {
    const HostedModel::Status status = model->status();
    // What loads for a request does not make the others wait.
    if (status.state == HostedModel::State::kLoading && !status.on_demand) {
      return absl::StrCat("model ", model->name, " is loading");
    }
    any_ready |= status.state != HostedModel::State::kFailed;
    if (status.state == HostedModel::State::kFailed) {
      failure = absl::StrCat("model ", model->name, ": ", status.error.ToString());
    }
  }
  return any_ready ? "" : failure;
}

void Worker::NotReady() {
  models_->SetState(false, true);
  server_.SetReady(false);
}

bool Worker::Drain(base::SteadyTime deadline) {
  NotReady();
  const bool drained = server_.Drain(deadline);
  if (!drained) base::LogWarning("streams cut off at the drain deadline");
  return drained;
}

void Worker::Stop() {
  // The listener first: it cancels what is left, and no reactor outlives it.
  server_.Stop();
  host_.Close(std::chrono::milliseconds(0));
}

}  // namespace conclave::worker
