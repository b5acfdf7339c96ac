#include "base/host.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>

namespace conclave::base {
namespace {

constexpr std::string_view kIsa[] = {"sse4_2",   "avx",         "avx2",        "fma",
                                     "f16c",     "avx_vnni",    "avx512f",     "avx512bw",
                                     "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
                                     "amx_tile", "amx_int8",    "amx_bf16"};

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// "key : value" → value; nothing for other keys.
std::string ValueOf(const std::string& line, std::string_view key) {
  if (line.compare(0, key.size(), key) != 0) return {};
  const size_t colon = line.find(':');
  const size_t begin = line.find_first_not_of(" \t", colon + 1);
  return colon == std::string::npos || begin == std::string::npos ? "" : line.substr(begin);
}

int CountNumaNodes() {
  int nodes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/sys/devices/system/node", error), end;
       !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() > 4 && name.compare(0, 4, "node") == 0 && name[4] >= '0' && name[4] <= '9') {
      ++nodes;
    }
  }
  return nodes;
}

}  // namespace

void ReadCpuInfo(const std::string& text, HostInfo* out) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, 9, "processor") == 0) ++out->threads;
    if (out->cpu_model.empty()) out->cpu_model = ValueOf(line, "model name");
    if (!out->isa.empty()) continue;
    std::istringstream words(ValueOf(line, "flags"));
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    for (const std::string_view name : kIsa) {
      if (flags.contains(std::string(name))) out->isa.emplace_back(name);
    }
  }
}

void ReadMemInfo(const std::string& text, HostInfo* out) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string total = ValueOf(line, "MemTotal");
    const std::string available = ValueOf(line, "MemAvailable");
    if (!total.empty()) out->memory_bytes = std::atoll(total.c_str()) * 1024;
    if (!available.empty()) out->memory_available_bytes = std::atoll(available.c_str()) * 1024;
  }
}

HostInfo ReadHostInfo() {
  HostInfo info;
  ReadCpuInfo(ReadFile("/proc/cpuinfo"), &info);
  ReadMemInfo(ReadFile("/proc/meminfo"), &info);
  info.numa_nodes = CountNumaNodes();
  return info;
}

}  // namespace conclave::base
