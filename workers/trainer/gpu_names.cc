#include "workers/trainer/gpu_names.h"

#include <dlfcn.h>

#include "quant/pipeline/device.h"

namespace pactory {
namespace {

// The few calls of the CUDA driver that count and name devices. They need no CUDA library, so a machine without a GPU
// answers at once.
class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  ~Driver() {
    if (library_ != nullptr) dlclose(library_);
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  std::vector<std::string> DeviceNames() const {
    std::vector<std::string> names;
    if (library_ == nullptr) return names;
    const auto init = Symbol<int(unsigned)>("cuInit");
    const auto count_devices = Symbol<int(int*)>("cuDeviceGetCount");
    const auto name_device = Symbol<int(char*, int, int)>("cuDeviceGetName");
    int count = 0;
    if (init == nullptr || count_devices == nullptr || name_device == nullptr) return names;
    if (init(0) != 0 || count_devices(&count) != 0) return names;
    for (int device = 0; device < count; ++device) {
      char name[256] = {};
      if (name_device(name, sizeof(name) - 1, device) == 0) names.emplace_back(name);
    }
    return names;
  }

  int64_t FirstDeviceMemory() const {
    if (library_ == nullptr) return 0;
    const auto init = Symbol<int(unsigned)>("cuInit");
    const auto total_memory = Symbol<int(size_t*, int)>("cuDeviceTotalMem_v2");
    size_t bytes = 0;
    if (init == nullptr || total_memory == nullptr || init(0) != 0 || total_memory(&bytes, 0) != 0) return 0;
    return static_cast<int64_t>(bytes);
  }

 private:
  template <typename Function>
  Function* Symbol(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }

  void* library_;
};

}  // namespace

int64_t FirstGpuMemoryBytes() { return Driver().FirstDeviceMemory(); }

std::vector<std::string> GpuNames() {
  std::vector<std::string> names = Driver().DeviceNames();
  if (!names.empty() && !quant::CudaIsUsable()) names.clear();
  return names;
}

}  // namespace pactory
