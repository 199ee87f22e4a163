// Datasets in NumPy's .npz, whose arrays npz/dataset_layout.h describes. Used by OpenDataset.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/data/dataset.h"
#include "quant/data/mapped_file.h"

namespace pactory::quant {

/// Opens an .npz as OpenDataset says. Stored arrays are read from the mapped file; deflated ones are inflated into
/// memory.
absl::StatusOr<std::unique_ptr<Dataset>> OpenNpzDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const Graph& graph, const std::vector<std::string>& target_names);

}  // namespace pactory::quant
