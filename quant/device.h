// The devices this machine offers. Used by the pipeline and `pactory-trainer ops`. Thread-safe.
#pragma once

#include <string>
#include <vector>

namespace pactory::quant {

/// Loads LibTorch's CUDA library where it and a driver are there; returns whether CUDA can be used. Must be called before
/// the first use of a CUDA device; later calls are free.
bool LoadCuda();

/// Returns the names of the CUDA devices; none where there is no GPU, driver or CUDA library.
std::vector<std::string> GpuNames();

}  // namespace pactory::quant
