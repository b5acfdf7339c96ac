// The choice of a device, and for the processors the array of instruction sets, worst first.
#include <cstdlib>
#include <mutex>

#include "base/log.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cuda/cuda_kernels.h"
#include "engine/kernels/cuda/loader.h"
#include "engine/kernels/hybrid/hybrid_kernels.h"
#include "engine/kernels/kernels.h"

namespace conclave::engine {
namespace {

using TableFn = const IsaTable& (*)();

constexpr TableFn kTables[] = {
    ScalarTable,
#if defined(__x86_64__)
    Avx2Table,
    Avx512Table,
#endif
};

std::string Names() {
  std::string names;
  for (const TableFn table : kTables)
    names += std::string(names.empty() ? "" : ", ") + table().name;
  return names;
}

}  // namespace

absl::StatusOr<const IsaTable*> ChooseIsa(std::string wanted) {
  if (wanted.empty()) {
    const char* from_environment = std::getenv("CONCLAVE_ISA");
    if (from_environment != nullptr) wanted = from_environment;
  }
  const IsaTable* chosen = nullptr;
  for (const TableFn table : kTables) {
    if (wanted.empty() ? table().supported() : wanted == table().name) chosen = &table();
  }
  if (chosen == nullptr) {
    return base::InvalidArgument("isa: unknown name \"" + wanted + "\"; known are " + Names());
  }
  if (!chosen->supported()) {
    return base::FailedPrecondition("isa: this machine cannot run " + wanted);
  }
  return chosen;
}

absl::StatusOr<std::unique_ptr<Kernels>> CreateCpuKernels(const KernelOptions& options) {
  if (options.num_threads < 0 || options.num_threads > 1024) {
    return base::InvalidArgument("num_threads: expected 0..1024, found " +
                                 std::to_string(options.num_threads));
  }
  ASSIGN_OR_RETURN(const IsaTable* const chosen, ChooseIsa(options.isa));
  return std::unique_ptr<Kernels>(std::make_unique<CpuKernels>(*chosen, options.num_threads));
}

namespace {

// What "auto" has come to, and why; once for a process.
void TellOfAuto() {
  static std::once_flag told;
  std::call_once(told, [] {
    const absl::StatusOr<std::vector<CudaDevice>> devices = CudaDevices();
    const std::string why = !devices.ok()      ? std::string(devices.status().message())
                            : devices->empty() ? "there is no GPU"
                                               : "a GPU is used when it is asked for as cuda";
    base::LogInfo("device auto: the processors", {{"why", why}});
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernels>> CreateKernels(const KernelOptions& options) {
  std::string device = options.device;
  if (device.empty()) {
    const char* from_environment = std::getenv("CONCLAVE_DEVICE");
    device = from_environment != nullptr ? from_environment : "cpu";
  }
  // A device that was named must be there; "auto" stays with the processors until the GPU's figures
  // are known on more than one card.
  if (device == "cuda") {
    return options.device_experts.empty() ? CreateCudaKernels(options)
                                          : CreateHybridKernels(options);
  }
  if (device != "cpu" && device != "auto") {
    return base::InvalidArgument("device: unknown name \"" + device +
                                 "\"; known are auto, cpu, cuda");
  }
  if (device == "auto") TellOfAuto();
  return CreateCpuKernels(options);
}

std::vector<std::string> BuiltIsas() {
  std::vector<std::string> names;
  for (const TableFn table : kTables) names.emplace_back(table().name);
  return names;
}

std::vector<std::string> SupportedIsas() {
  std::vector<std::string> names;
  for (const TableFn table : kTables) {
    if (table().supported()) names.emplace_back(table().name);
  }
  return names;
}

}  // namespace conclave::engine
