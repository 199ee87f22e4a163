// The GPUs of this machine, by name. Used by `pactory-trainer ops`. Thread-safe.
#pragma once

#include <string>
#include <vector>

namespace pactory {

/// Returns the names of the CUDA devices that training can use; none where there is no GPU, driver or CUDA library.
std::vector<std::string> GpuNames();

}  // namespace pactory
