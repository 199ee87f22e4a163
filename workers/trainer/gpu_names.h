// The GPUs of this machine, by name. Used by `pactory-trainer ops`. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pactory {

/// Returns the names of the CUDA devices that training can use; none where there is no GPU, driver or CUDA library.
std::vector<std::string> GpuNames();

/// Returns the memory of the first CUDA device in bytes; 0 where there is none.
int64_t FirstGpuMemoryBytes();

}  // namespace pactory
