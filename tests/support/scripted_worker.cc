#include "support/scripted_worker.h"

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "backends/scripted.h"

namespace conclave::tests {
namespace {

void MustBeOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "scripted worker: %s\n", status.ToString().c_str());
  std::abort();
}

worker::WorkerOptions ToWorker(const ScriptedWorkerOptions& options) {
  worker::WorkerOptions to;
  to.worker_id = options.worker_id;
  to.server.listen = "127.0.0.1:" + std::to_string(options.port);
  to.host.digests = false;
  to.host.clock = options.clock;
  to.host.unload_drain = std::chrono::milliseconds(2'000);
  to.stream = options.stream;
  to.blob_dir = options.blob_dir;
  return to;
}

}  // namespace

ScriptedWorker::ScriptedWorker(std::string_view script, ScriptedWorkerOptions options)
    : worker_(std::make_unique<worker::Worker>(ToWorker(options))) {
  Add(options.model, script);
  MustBeOk(worker_->Start());
}

std::string ScriptedWorker::address() const { return "127.0.0.1:" + std::to_string(port()); }

void ScriptedWorker::Add(const std::string& model, std::string_view script) {
  auto backend = backends::MakeScripted(script);
  MustBeOk(backend.status());
  MustBeOk(worker_->host().Add(model, *std::move(backend)));
}

backends::Load ScriptedWorker::load(const std::string& model) const {
  for (const auto& hosted : worker_->host().List()) {
    if (hosted->name == model) return hosted->backend()->load();
  }
  return {};
}

bool ScriptedWorker::WaitUntilIdle(std::chrono::milliseconds timeout,
                                   const std::string& model) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < deadline) {
    const backends::Load now = load(model);
    if (now.running == 0 && now.waiting == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

}  // namespace conclave::tests
