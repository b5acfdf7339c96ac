// An inference worker in process: the real services on a free port, answered by the scripted
// backend (backends/script.h has the format of a script).
//
//   ScriptedWorker worker(R"({"rules": [{"mode": "counts"}]})");
//   … a client of 127.0.0.1:worker.port(), model "scripted" …
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "worker/worker.h"

namespace conclave::tests {

struct ScriptedWorkerOptions {
  std::string model = "scripted";
  std::string worker_id = "scripted-worker";
  int port = 0;  // 0 = any free one; a fixed one to start again where another worker died
  worker::StreamOptions stream;
  const base::Clock* clock = &base::Clock::System();  // dates the models
  std::string blob_dir = {};                          // empty: it takes no files
};

class ScriptedWorker final {
 public:
  // Aborts the test when the script is wrong or the port taken. "{}" echoes.
  explicit ScriptedWorker(std::string_view script, ScriptedWorkerOptions options = {});

  int port() const { return worker_->port(); }
  std::string address() const;
  worker::Worker& worker() { return *worker_; }

  // Another model on the same worker.
  void Add(const std::string& model, std::string_view script);
  // What the backend of `model` reports.
  backends::Load load(const std::string& model = "scripted") const;
  // True once no request runs or waits, at most `timeout` later.
  bool WaitUntilIdle(std::chrono::milliseconds timeout,
                     const std::string& model = "scripted") const;

 private:
  std::unique_ptr<worker::Worker> worker_;
};

}  // namespace conclave::tests
