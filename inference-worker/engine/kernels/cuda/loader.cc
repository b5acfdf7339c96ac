#include "engine/kernels/cuda/loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "engine/kernels/cuda/module.h"

namespace conclave::engine {
namespace {

constexpr char kModule[] = "libconclave_cuda.so";
constexpr int kDevicesMax = 64;

struct Door {
  decltype(&conclave_cuda_devices) devices = nullptr;
  const ConclaveCudaApi* api = nullptr;
};

std::string ExecutableFolder() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return ".";
  const std::string text(path, static_cast<size_t>(n));
  return text.substr(0, text.rfind('/'));
}

std::vector<std::string> Candidates() {
  if (const char* named = std::getenv("CONCLAVE_CUDA_MODULE"); named != nullptr) return {named};
  const std::string folder = ExecutableFolder();
  return {folder + "/" + kModule, folder + "/../lib/" + kModule, kModule};
}

// The module stays loaded: CUDA does not take well to being unloaded.
absl::StatusOr<Door> Load() {
  std::string complaint;
  for (const std::string& path : Candidates()) {
    void* const module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) {
      complaint = dlerror();
      continue;
    }
    void* const devices = dlsym(module, "conclave_cuda_devices");
    void* const api = dlsym(module, "conclave_cuda_api");
    if (devices == nullptr || api == nullptr) {
      return base::NotFound(path + " is no CUDA module of this version");
    }
    const Door door = {.devices = reinterpret_cast<decltype(&conclave_cuda_devices)>(devices),
                       .api = reinterpret_cast<decltype(&conclave_cuda_api)>(api)()};
    if (door.api->version != CONCLAVE_CUDA_API_VERSION) {
      return base::NotFound(path + " is a CUDA module of another version than this program: " +
                            std::to_string(door.api->version) + ", not " +
                            std::to_string(CONCLAVE_CUDA_API_VERSION));
    }
    return door;
  }
  return base::NotFound("no CUDA module: " + complaint);
}

const absl::StatusOr<Door>& OpenDoor() {
  static const absl::StatusOr<Door> door = Load();
  return door;
}

}  // namespace

absl::StatusOr<const ConclaveCudaApi*> LoadCudaApi() {
  RETURN_IF_ERROR(OpenDoor().status());
  return OpenDoor()->api;
}

absl::StatusOr<std::vector<CudaDevice>> CudaDevices() {
  const absl::StatusOr<Door>& door = OpenDoor();
  RETURN_IF_ERROR(door.status());
  std::vector<ConclaveCudaDevice> found(kDevicesMax);
  char error[256] = "";
  const int32_t count = door->devices(found.data(), kDevicesMax, error, sizeof error);
  if (count < 0) return base::FailedPrecondition(std::string("CUDA: ") + error);
  std::vector<CudaDevice> result;
  for (int32_t i = 0; i < count && i < kDevicesMax; ++i) {
    const ConclaveCudaDevice& device = found[static_cast<size_t>(i)];
    result.push_back({.name = device.name,
                      .compute_major = device.compute_major,
                      .compute_minor = device.compute_minor,
                      .multiprocessors = device.multiprocessors,
                      .memory_bytes = device.memory_bytes,
                      .memory_free_bytes = device.memory_free_bytes});
  }
  return result;
}

}  // namespace conclave::engine
