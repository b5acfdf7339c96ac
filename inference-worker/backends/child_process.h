// A child process and its three pipes. No shell: execve with an absolute path, an environment made
// for it, limits, its own session and process group, no descriptor of ours but the pipes. It dies
// with the thread that started it, and its whole group with the object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace conclave::backends {

struct ChildSpec {
  std::vector<std::string> argv;  // argv[0] is an absolute path
  std::string directory = "/";
  std::vector<std::string> environment;  // "NAME=value"
  int64_t memory_bytes = 0;              // of address space; 0 = no limit of its own
  int32_t cpu_seconds = 0;               // 0 = no limit
  int32_t open_files = 256;
  int64_t file_bytes = 0;  // of a file it writes; 0 = no limit
};

// Owned by the thread that made it.
class ChildProcess final {
 public:
  // FAILED_PRECONDITION with what the system says when the file cannot be run.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const ChildSpec& spec);
  // Kills the group and waits for the child: no zombie is left.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Non-blocking. -1 once closed.
  int input() const { return input_; }  // its stdin
  int output() const { return output_; }
  int errors() const { return errors_; }
  void CloseOutput();
  void CloseErrors();
  pid_t pid() const { return pid_; }

  // "exit status 3", "signal 9"; nothing while it runs. An ended child is a zombie until Kill, so
  // that its id is nobody else's.
  std::optional<std::string> Ended();
  // SIGTERM to the group, SIGKILL after the grace; then the child has been waited for.
  void Kill(std::chrono::milliseconds grace);

 private:
  ChildProcess() = default;

  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  int errors_ = -1;
  bool reaped_ = false;
};

}  // namespace conclave::backends
