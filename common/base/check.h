// CHECK is for our own mistakes: a broken invariant ends the process with the line that broke it.
// It is never reachable from a request, a model file, a row or the network; those get a Status.
#pragma once

namespace conclave::base {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace conclave::base

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) [[unlikely]] {                                 \
      ::conclave::base::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                                \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition)    \
  do {                       \
    (void)sizeof(condition); \
  } while (false)
#else
#define DCHECK(condition) CHECK(condition)
#endif
