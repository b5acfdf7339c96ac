#include "base/host.h"

#include "catch2/catch.hpp"

namespace conclave::base {

TEST_CASE("processors are counted, their model and what inference can use of it are told") {
  HostInfo info;
  ReadCpuInfo(
      "processor\t: 0\nmodel name\t: A Chip @ 2GHz\nflags\t\t: fpu avx2 fma avx512f weird\n\n"
      "processor\t: 1\nmodel name\t: A Chip @ 2GHz\nflags\t\t: fpu avx2 fma avx512f weird\n",
      &info);
  CHECK(info.threads == 2);
  CHECK(info.cpu_model == "A Chip @ 2GHz");
  CHECK(info.isa == std::vector<std::string>{"avx2", "fma", "avx512f"});
}

TEST_CASE("memory is told in bytes") {
  HostInfo info;
  ReadMemInfo("MemTotal:       2048 kB\nMemFree:         1 kB\nMemAvailable:   1024 kB\n", &info);
  CHECK(info.memory_bytes == 2048 * 1024);
  CHECK(info.memory_available_bytes == 1024 * 1024);
}

TEST_CASE("what is not there is empty") {
  HostInfo info;
  ReadCpuInfo("", &info);
  ReadMemInfo("MemTotal\nflags", &info);
  CHECK(info.cpu_model.empty());
  CHECK(info.threads == 0);
  CHECK(info.memory_bytes == 0);
}

}  // namespace conclave::base
