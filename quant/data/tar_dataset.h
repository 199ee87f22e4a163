// Datasets in WebDataset's form: a tar with `key.jpg` or `key.png` and, of the same key, what the image shows. Used by OpenDataset.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "quant/data/dataset.h"
#include "quant/data/mapped_file.h"

namespace pactory::quant {

/// Opens a tar as OpenDataset says. The archive is walked once; images are decoded when they are read. Beside an image may lie
///
///   `key.cls`       its class, a number as text
///   `key.txt`       its line of text, read where preprocess.characters is given: the labels are the sequences of these characters' classes
///   `key.mask.png`  which of its pixels are meant, 8 bits from none (0) to all (255), read for `mask_target`, the name of an output: resized
///                   with the image, without shades in between, as N x 1 x H x W from 0 to 1
///   `key.json`      its regions (region.h), read by ReadRegions
absl::StatusOr<std::unique_ptr<Dataset>> OpenTarDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input, const std::string& mask_target);

}  // namespace pactory::quant
