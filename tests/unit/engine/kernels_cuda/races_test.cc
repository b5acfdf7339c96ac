// That the thread sanitizer sees who touches what the emulated device works on without having
// waited (tests/support/cuda_emulator): each case once too early, which must be reported, and once
// in time. What it prints of the former is meant to be there.
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/kernels/cuda/loader.h"
#include "engine/kernels/cuda/module.h"

namespace {
int num_reports = 0;
}

// Hooks of the sanitizer. Reports at the same place count each time, and are no failure of the
// program.
extern "C" __attribute__((no_sanitize("thread"))) void __tsan_on_report(void*) { ++num_reports; }
extern "C" const char* __tsan_default_options() {
  return "exitcode=0:suppress_equal_stacks=0:suppress_equal_addresses=0";
}

namespace conclave::engine {
namespace {

constexpr int64_t kCount = 64;
constexpr int64_t kBytes = kCount * 4;
enum class When { kTooEarly, kInTime };

class Device final {
 public:
  Device() {
    setenv("CONCLAVE_CUDA_MODULE", CONCLAVE_EMULATED_CUDA_MODULE, 1);
    const absl::StatusOr<const ConclaveCudaApi*> loaded = LoadCudaApi();
    REQUIRE(loaded.ok());
    api = *loaded;
    char error[256];
    context = api->open(0, error, sizeof error);
    REQUIRE(context != nullptr);
  }
  ~Device() {
    for (void* const data : allocated_) api->release(context, data);
    for (void* const data : pinned_) api->unpin(context, data);
    api->close(context);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  template <typename T>
  T* Allocate() {
    allocated_.push_back(api->allocate(context, kBytes));
    REQUIRE(allocated_.back() != nullptr);
    return static_cast<T*>(allocated_.back());
  }
  template <typename T>
  T* Pin() {
    pinned_.push_back(api->pin(context, kBytes));
    REQUIRE(pinned_.back() != nullptr);
    auto* const data = static_cast<T*>(pinned_.back());
    for (int64_t i = 0; i < kCount; ++i) data[i] = T{1};
    return data;
  }
  void CopyRow(const float* from, float* to) {
    api->copy_rows(context, from, kCount, 1, kCount, to, kCount);
  }
  void Await() { REQUIRE(api->read_back(context, nullptr, 0) != nullptr); }

  const ConclaveCudaApi* api = nullptr;
  ConclaveCudaContext* context = nullptr;

 private:
  std::vector<void*> allocated_;
  std::vector<void*> pinned_;
};

template <typename Use>
void CheckReported(Use use) {
  for (const When when : {When::kTooEarly, When::kInTime}) {
    const int before = num_reports;
    {
      Device device;
      use(device, when);
    }
    CAPTURE(when == When::kTooEarly);
    CHECK((num_reports > before) == (when == When::kTooEarly));
  }
}

TEST_CASE("the processors' sum must stay until a kernel has read it") {
  CheckReported([](Device& device, When when) {
    auto* const sum = device.Pin<float>();
    device.CopyRow(sum, device.Allocate<float>());
    if (when == When::kInTime) device.Await();
    sum[0] = 2;
    device.Await();
  });
}

TEST_CASE("rows that a kernel hands over are there when the host's turn has come") {
  CheckReported([](Device& device, When when) {
    auto* const x = device.Pin<float>();
    const ConclaveCudaHandOver hand_over = {.x = device.Allocate<float>(),
                                            .x_stride = kCount,
                                            .rows = 1,
                                            .cols = kCount,
                                            .ids = device.Allocate<int32_t>(),
                                            .weights = device.Allocate<float>(),
                                            .top_k = 1,
                                            .places = device.Allocate<int32_t>(),
                                            .here = device.Allocate<int32_t>(),
                                            .their_x = x,
                                            .there = device.Pin<int32_t>(),
                                            .their_ids = device.Pin<int32_t>(),
                                            .their_weights = device.Pin<float>()};
    device.api->hand_over(device.context, &hand_over);
    if (when == When::kInTime) REQUIRE(device.api->await_host_turn(device.context) == 1);
    CHECK(x[0] == (when == When::kInTime ? 0 : 1));
    device.Await();
  });
}

TEST_CASE("what is staged stays until it has been copied") {
  CheckReported([](Device& device, When when) {
    auto* const pinned = device.Pin<float>();
    device.api->stage(device.context, 0, pinned, kBytes, device.Allocate<float>());
    if (when == When::kInTime) REQUIRE(device.api->await_staging(device.context, 0) == 1);
    pinned[0] = 2;
    REQUIRE(device.api->await_staging(device.context, 0) == 1);
  });
}

TEST_CASE("what comes down is there when the exchange is done") {
  CheckReported([](Device& device, When when) {
    auto* const pinned = device.Pin<float>();
    const ConclaveCudaCopy down = {device.Allocate<float>(), pinned, kBytes};
    REQUIRE(device.api->exchange(device.context, 0, nullptr, 0, &down, 1) == 1);
    if (when == When::kInTime) REQUIRE(device.api->exchanged(device.context, 0) == 1);
    CHECK(pinned[0] == (when == When::kInTime ? 0 : 1));
    REQUIRE(device.api->exchanged(device.context, 0) == 1);
  });
}

TEST_CASE("a kernel waits for what another stream copies, and that for the kernel") {
  CheckReported([](Device& device, When when) {
    auto* const staged = device.Allocate<float>();
    device.api->stage(device.context, 0, device.Pin<float>(), kBytes, staged);
    REQUIRE(device.api->await_staging(device.context, 0) == 1);
    if (when == When::kInTime) device.api->use_staged(device.context, 0);
    device.CopyRow(staged, device.Allocate<float>());
    if (when == When::kInTime) device.api->done_with_staged(device.context, 0);
    device.api->stage(device.context, 0, device.Pin<float>(), kBytes, staged);
    REQUIRE(device.api->await_staging(device.context, 0) == 1);
    device.Await();
  });
}

}  // namespace
}  // namespace conclave::engine
