// The array of instruction sets, worst first, and the choice among them. A further device is a
// further row here and a folder beside cpu/.
#include <cstdlib>

#include "engine/kernels/cpu/cpu_kernels.h"
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

absl::StatusOr<std::unique_ptr<Kernels>> CreateKernels(const KernelOptions& options) {
  if (options.num_threads < 0 || options.num_threads > 1024) {
    return base::InvalidArgument("num_threads: expected 0..1024, found " +
                                 std::to_string(options.num_threads));
  }
  std::string wanted = options.isa;
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
  return std::unique_ptr<Kernels>(std::make_unique<CpuKernels>(*chosen, options.num_threads));
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
