// What the thread sanitizer is told of a stream: that it is a thread of its own. It knows what was
// done before its work was asked for and before the events that it waited for; the host knows what
// it has done once an event says so, whichever thread the work happens to run on. So who touches
// pinned memory without having waited is reported, though here work runs only while somebody waits.
// Without the sanitizer nothing is left of this.
#pragma once

#ifdef CONCLAVE_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace emulator {

#ifdef CONCLAVE_EMULATOR_TSAN

class Timeline final {
 public:
  Timeline() : fiber_(__tsan_create_fiber(0)) {}
  ~Timeline() { __tsan_destroy_fiber(fiber_); }
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  template <typename Work>
  void Run(const Work& work) {
    void* const host = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber_, __tsan_switch_to_fiber_no_sync);
    work();
    __tsan_switch_to_fiber(host, __tsan_switch_to_fiber_no_sync);
  }

 private:
  void* fiber_;
};

// What is done before a Release comes before what follows an Acquire of the same address.
inline void Release(const void* at) { __tsan_release(const_cast<void*>(at)); }
inline void Acquire(const void* at) { __tsan_acquire(const_cast<void*>(at)); }

#else

class Timeline final {
 public:
  template <typename Work>
  void Run(const Work& work) {
    work();
  }
};

inline void Release(const void*) {}
inline void Acquire(const void*) {}

#endif

}  // namespace emulator
