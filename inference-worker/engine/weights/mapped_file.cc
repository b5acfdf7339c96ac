#include "engine/weights/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace conclave::engine {
namespace {

// What the signal handler knows. Fixed size and lock-free, because a handler may do little.
constexpr int kMaxMappings = 1024;
struct Mapping {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};  // 0 = the slot is free
  std::atomic<bool> faulted{false};
};
Mapping mappings[kMaxMappings];
std::mutex slots_mutex;
std::once_flag handler_installed;
struct sigaction previous_action;

// Lays zero pages over the rest of the mapping; the faulting instruction then runs again.
bool Patch(uintptr_t address, uintptr_t page) {
  for (Mapping& mapping : mappings) {
    const uintptr_t end = mapping.end.load(std::memory_order_acquire);
    if (end == 0 || address >= end) continue;
    if (address < mapping.begin.load(std::memory_order_relaxed)) continue;
    const uintptr_t from = address / page * page;
    void* patched = mmap(reinterpret_cast<void*>(from), end - from, PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mapping.faulted.store(true, std::memory_order_release);
    return patched != MAP_FAILED;
  }
  return false;
}

void OnSigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool patched = Patch(reinterpret_cast<uintptr_t>(info->si_addr), 4096);
  errno = saved_errno;
  if (patched) return;
  // Not ours: what was there before decides.
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    ::signal(SIGBUS, SIG_DFL);  // the fault happens again and ends the process
  }
}

void InstallHandler() {
  struct sigaction action = {};
  action.sa_sigaction = OnSigbus;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous_action);
}

// -1 when the table is full.
int TakeSlot(uintptr_t begin, uintptr_t end) {
  const std::lock_guard lock(slots_mutex);
  for (int i = 0; i < kMaxMappings; ++i) {
    if (mappings[i].end.load(std::memory_order_relaxed) != 0) continue;
    mappings[i].faulted.store(false, std::memory_order_relaxed);
    mappings[i].begin.store(begin, std::memory_order_relaxed);
    mappings[i].end.store(end, std::memory_order_release);
    return i;
  }
  return -1;
}

absl::Status ErrnoStatus(const std::string& path, int error) {
  const std::string message = path + ": " + std::strerror(error);
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  if (error == ENOMEM || error == EMFILE || error == ENFILE)
    return base::ResourceExhausted(message);
  return base::InvalidArgument(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a pipe by mistake must not wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(path, errno);
  struct stat facts = {};
  if (fstat(fd, &facts) != 0) {
    const int error = errno;
    close(fd);
    return ErrnoStatus(path, error);
  }
  if (!S_ISREG(facts.st_mode) || facts.st_size == 0) {
    close(fd);
    return base::InvalidArgument(path +
                                 (S_ISREG(facts.st_mode) ? ": is empty" : ": not a regular file"));
  }
  const size_t size = static_cast<size_t>(facts.st_size);
  void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);  // the mapping keeps the file
  if (memory == MAP_FAILED) return ErrnoStatus(path, error);
  std::call_once(handler_installed, InstallHandler);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
  const int slot = TakeSlot(begin, begin + size);
  if (slot < 0) {
    munmap(memory, size);
    return base::ResourceExhausted(path + ": more than 1024 files mapped at once");
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, static_cast<std::byte*>(memory),
                                                    static_cast<int64_t>(facts.st_size), slot));
}

MappedFile::~MappedFile() {
  // First: the address may belong to another mapping the moment it is free.
  mappings[slot_].end.store(0, std::memory_order_release);
  munmap(data_, static_cast<size_t>(size_));
}

bool MappedFile::faulted() const { return mappings[slot_].faulted.load(std::memory_order_acquire); }

void MappedFile::Release(const std::byte* data, int64_t size) const {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t from = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t to =
      (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(size)) / page * page;
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

}  // namespace conclave::engine
