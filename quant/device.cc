#include "quant/device.h"

#include <ATen/ATen.h>
#include <dlfcn.h>

#include <exception>

namespace pactory::quant {
namespace {

// The few calls of the CUDA driver that count and name devices; its library comes with the driver, not with LibTorch.
class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  ~Driver() {
    if (library_ != nullptr) dlclose(library_);
  }

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

 private:
  template <typename Function>
  Function* Symbol(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }

  void* library_;
};

bool TryLoadCuda() {
  // A driver without devices would make LibTorch's start-up fail slowly.
  if (Driver().DeviceNames().empty()) return false;
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return false;
  try {
    return at::hasCUDA() && at::getNumGPUs() > 0;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

bool LoadCuda() {
  static const bool loaded = TryLoadCuda();
  return loaded;
}

std::vector<std::string> GpuNames() { return LoadCuda() ? Driver().DeviceNames() : std::vector<std::string>(); }

}  // namespace pactory::quant
