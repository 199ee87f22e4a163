// What the arrays of a dataset's .npz must be, said once for the server, which refuses others when they are uploaded or a job is
// made, and for the trainer, which reads them. Arrays are told as v1::TensorInfo: samples on the first axis. Stateless.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "npz/zip_directory.h"
#include "pactory/v1/model.pb.h"

namespace pactory {

using ArrayList = google::protobuf::RepeatedPtrField<v1::TensorInfo>;

/// The array of the labels.
inline constexpr absl::string_view kLabelArray = "y";

/// Whether a tensor holds floats, of whatever width.
bool IsFloat(const v1::TensorInfo& tensor);

/// Returns the member that holds an array (`x` or `x.npy`), or null.
const ZipMember* FindArray(const std::vector<ZipMember>& members, absl::string_view name);

/// Returns the array of a name, or null.
const v1::TensorInfo* FindArray(const ArrayList& arrays, absl::string_view name);

/// Reads what the header of each member says; names come without `.npy`. INVALID_ARGUMENT names the member that is no whole array of
/// numbers; there may be at most 256.
absl::StatusOr<ArrayList> ReadArrays(const RangedFile& archive, const std::vector<ZipMember>& members);

/// Checks all that can be told without a model: there are samples, the same number in every array; and labels, where there are any, are an
/// integer for each sample (N, or N x 1) or a row of them (N x L), or floats, which are targets of regression. INVALID_ARGUMENT names the
/// array.
absl::Status CheckArrays(const ArrayList& arrays);

/// Whether checked arrays hold labels, and no targets in their place.
bool HasLabels(const ArrayList& arrays);

/// Returns the name of the array that each input of a model takes, in the order of the inputs, for arrays that pass CheckArrays: the
/// input's name, or `x` where it is the only one. `scaled`: inputs that preprocessing scales, which also take 8-bit integers.
/// INVALID_ARGUMENT names an array that is missing, that is of another type or shape than its input, or
/// that is neither an input nor the labels nor an output's targets.
absl::StatusOr<std::vector<std::string>> ArraysOfInputs(const v1::Model& model, const ArrayList& arrays,
                                                        const std::set<std::string>& scaled);

}  // namespace pactory
