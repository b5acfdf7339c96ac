// How many threads are worth having: what the scheduler allows, cut to the CPU quota of the cgroup.
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "engine/kernels/cpu/thread_pool.h"

namespace conclave::engine {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File OpenText(const char* path) { return File(std::fopen(path, "re"), std::fclose); }

// 0 when there is no limit.
int CoresOfQuota(long long quota_us, long long period_us) {
  if (quota_us <= 0 || period_us <= 0) return 0;
  return static_cast<int>(std::clamp<long long>((quota_us + period_us - 1) / period_us, 1, 4096));
}

int CgroupCores() {
  long long quota = 0;
  long long period = 0;
  // Version 2: "max 100000" or "150000 100000".
  if (const File file = OpenText("/sys/fs/cgroup/cpu.max")) {
    if (std::fscanf(file.get(), "%lld %lld", &quota, &period) == 2) {
      return CoresOfQuota(quota, period);
    }
    return 0;
  }
  const File quota_file = OpenText("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const File period_file = OpenText("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_file == nullptr || period_file == nullptr) return 0;
  if (std::fscanf(quota_file.get(), "%lld", &quota) != 1) return 0;
  if (std::fscanf(period_file.get(), "%lld", &period) != 1) return 0;
  return CoresOfQuota(quota, period);
}

}  // namespace

int UsableCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  int cores = 1;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) cores = CPU_COUNT(&allowed);
  const int quota = CgroupCores();
  if (quota > 0) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

}  // namespace conclave::engine
