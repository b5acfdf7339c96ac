// What the machine under this process is, as Linux tells it: for people who look, not for
// decisions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace conclave::base {

struct HostInfo {
  std::string cpu_model;         // empty where /proc does not say
  int threads = 0;               // of all processors
  std::vector<std::string> isa;  // those of its instruction sets that inference can use
  int numa_nodes = 0;
  int64_t memory_bytes = 0;
  int64_t memory_available_bytes = 0;
};

HostInfo ReadHostInfo();

// The parts, from the texts of /proc/cpuinfo and /proc/meminfo.
void ReadCpuInfo(const std::string& text, HostInfo* out);
void ReadMemInfo(const std::string& text, HostInfo* out);

}  // namespace conclave::base
