// Datasets in WebDataset's form: a tar with `key.jpg` or `key.png` beside `key.cls`. Used by OpenDataset.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "quant/data/dataset.h"
#include "quant/data/mapped_file.h"

namespace pactory::quant {

/// Opens a tar as OpenDataset says. The archive is walked once; images are decoded when they are read.
absl::StatusOr<std::unique_ptr<Dataset>> OpenTarDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input);

}  // namespace pactory::quant
