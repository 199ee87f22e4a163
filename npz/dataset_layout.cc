#include "npz/dataset_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "npz/npy_header.h"

namespace pactory {
namespace {

constexpr char kOnlyInput[] = "x";
// No model has as many inputs; each costs a read.
constexpr size_t kMaxArrays = 256;

// ONNX's name of the type.
std::string ElementType(const NpyHeader& header) {
  const auto with_bits = [&header](absl::string_view name) { return absl::StrCat(name, 8 * header.item_size); };
  switch (header.kind) {
    case NpyKind::kFloat: return header.item_size == 4 ? "float" : header.item_size == 8 ? "double" : "float16";
    case NpyKind::kSigned: return with_bits("int");
    case NpyKind::kUnsigned: return with_bits("uint");
    case NpyKind::kBool: return "bool";
  }
  return "";
}

// NumPy's name of the type.
std::string TypeText(const std::string& element_type) {
  return element_type == "float" ? "float32" : element_type == "double" ? "float64" : element_type;
}

bool IsInteger(const v1::TensorInfo& tensor) {
  return absl::StartsWith(tensor.element_type(), "int") || absl::StartsWith(tensor.element_type(), "uint");
}

std::string ShapeOf(const v1::TensorInfo& tensor) { return ShapeText({tensor.dims().begin(), tensor.dims().end()}); }

bool HasAsMany(const v1::TensorInfo& samples, const v1::TensorInfo& other) {
  return other.dims_size() > 0 && other.dims(0) == samples.dims(0);
}

absl::Status CheckLabels(const v1::TensorInfo& samples, const v1::TensorInfo& labels) {
  if (!HasAsMany(samples, labels) || (!IsFloat(labels) && labels.dims_size() > 2)) {
    return absl::InvalidArgumentError(absl::StrCat("array y must have one label, or one row of them, for each sample of ",
                                                   samples.name(), ": ", samples.name(), "=", ShapeOf(samples),
                                                   " y=", ShapeOf(labels)));
  }
  if (IsFloat(labels) || IsInteger(labels)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("array y must hold integers, or floats as targets of regression: type=",
                                                 TypeText(labels.element_type())));
}

// An input called like the labels can't take their array.
std::string ArrayNameOf(const v1::TensorInfo& input) {
  return input.name() == kLabelArray ? absl::StrCat("input_", input.name()) : input.name();
}

absl::Status CheckType(const v1::TensorInfo& input, const v1::TensorInfo& array, bool is_scaled) {
  const std::string& type = array.element_type();
  if (IsFloat(input) ? IsFloat(array) || (is_scaled && (type == "uint8" || type == "int8")) : type == input.element_type()) {
    return absl::OkStatus();
  }
  const std::string found = absl::StrCat(": input=", input.name(), " type=", TypeText(type));
  if (!IsFloat(input)) {
    return absl::InvalidArgumentError(absl::StrCat("array ", array.name(), " must be ", TypeText(input.element_type()),
                                                   ", the type of the model's input", found));
  }
  if (is_scaled) {
    return absl::InvalidArgumentError(
        absl::StrCat("array ", array.name(), " must be uint8, int8, float16, float32 or float64", found));
  }
  return absl::InvalidArgumentError(absl::StrCat("array ", array.name(),
                                                 " must be float16, float32 or float64; 8-bit integers are for inputs of floats that "
                                                 "preprocess.inputs names", found));
}

// The model's open dimensions (-1) take any size. A model that tells no shape has no dimensions here.
absl::Status CheckShape(const v1::TensorInfo& input, const v1::TensorInfo& array) {
  if (input.dims().empty()) return absl::OkStatus();
  bool fits = array.dims_size() == input.dims_size();
  for (int axis = 1; fits && axis < input.dims_size(); ++axis) fits = input.dims(axis) < 0 || input.dims(axis) == array.dims(axis);
  if (fits) return absl::OkStatus();
  std::string hint;
  if (array.dims_size() == 4 && input.dims_size() == 4 && input.dims(1) == array.dims(3)) {
    hint = "; channels come before height and width: transpose it by (0, 3, 1, 2)";
  }
  return absl::InvalidArgumentError(absl::StrCat("array ", array.name(), " must have the shape of the model's input: ", array.name(), "=",
                                                 ShapeOf(array), " input=", ShapeOf(input), " name=", input.name(), hint));
}

std::string NamesOf(const ArrayList& arrays) {
  return absl::StrJoin(arrays, ", ", [](std::string* text, const v1::TensorInfo& array) { absl::StrAppend(text, array.name()); });
}

}  // namespace

bool IsFloat(const v1::TensorInfo& tensor) {
  const std::string& type = tensor.element_type();
  return type == "double" || absl::StartsWith(type, "float") || type == "bfloat16";
}

const ZipMember* FindArray(const std::vector<ZipMember>& members, absl::string_view name) {
  const auto found = std::find_if(members.begin(), members.end(), [&](const ZipMember& member) {
    return member.name == name || member.name == absl::StrCat(name, ".npy");
  });
  return found == members.end() ? nullptr : &*found;
}

const v1::TensorInfo* FindArray(const ArrayList& arrays, absl::string_view name) {
  const auto found = std::find_if(arrays.begin(), arrays.end(), [&](const v1::TensorInfo& array) { return array.name() == name; });
  return found == arrays.end() ? nullptr : &*found;
}

absl::StatusOr<ArrayList> ReadArrays(const RangedFile& archive, const std::vector<ZipMember>& members) {
  if (members.size() > kMaxArrays) {
    return absl::InvalidArgumentError(absl::StrCat("archive must hold at most ", kMaxArrays, " arrays: arrays=", members.size()));
  }
  ArrayList arrays;
  for (const ZipMember& member : members) {
    PACTORY_ASSIGN_OR_RETURN(const std::string start, ReadStart(archive, member, kMaxNpyHeader));
    const absl::StatusOr<NpyHeader> header = ParseNpyHeader(start);
    absl::Status status = header.status();
    if (status.ok()) status = CheckNpySize(*header, member.size);
    if (!status.ok()) return Prefixed(status, absl::StrCat("array ", member.name, ": "));
    v1::TensorInfo& array = *arrays.Add();
    array.set_name(std::string(absl::StripSuffix(member.name, ".npy")));
    array.set_element_type(ElementType(*header));
    array.mutable_dims()->Assign(header->shape.begin(), header->shape.end());
  }
  return arrays;
}

absl::Status CheckArrays(const ArrayList& arrays) {
  const v1::TensorInfo* samples = nullptr;
  for (const v1::TensorInfo& array : arrays) {
    if (array.name() == kLabelArray) continue;
    if (array.dims().empty() || array.dims(0) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("array ", array.name(), " must hold at least one sample, on its first axis: shape=", ShapeOf(array)));
    }
    if (samples == nullptr) samples = &array;
    if (HasAsMany(*samples, array)) continue;
    return absl::InvalidArgumentError(absl::StrCat("arrays must hold the same samples, on their first axis: ", samples->name(), "=",
                                                   ShapeOf(*samples), " ", array.name(), "=", ShapeOf(array)));
  }
  if (samples == nullptr) {
    return absl::InvalidArgumentError(
        "there must be an array for each of the model's inputs, x for the only one; save them with numpy.savez(file, x=..., y=...)");
  }
  const v1::TensorInfo* labels = FindArray(arrays, kLabelArray);
  return labels == nullptr ? absl::OkStatus() : CheckLabels(*samples, *labels);
}

bool HasLabels(const ArrayList& arrays) {
  const v1::TensorInfo* labels = FindArray(arrays, kLabelArray);
  return labels != nullptr && !IsFloat(*labels);
}

absl::StatusOr<std::vector<std::string>> ArraysOfInputs(const v1::Model& model, const ArrayList& arrays,
                                                        const std::set<std::string>& scaled) {
  std::set<std::string> known = {std::string(kLabelArray)};
  for (const v1::TensorInfo& output : model.outputs()) known.insert(output.name());
  std::vector<std::string> names;
  for (const v1::TensorInfo& input : model.inputs()) {
    const std::string name = model.inputs_size() == 1 && FindArray(arrays, kOnlyInput) != nullptr ? kOnlyInput : ArrayNameOf(input);
    const v1::TensorInfo* array = FindArray(arrays, name);
    if (array == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("archive must hold an array named ", name,
                                                     model.inputs_size() == 1 ? " or x" : "", ", for the model's input ", input.name(),
                                                     " (", TypeText(input.element_type()), " ", ShapeOf(input),
                                                     "): arrays=", NamesOf(arrays)));
    }
    PACTORY_RETURN_IF_ERROR(CheckType(input, *array, scaled.contains(input.name())));
    PACTORY_RETURN_IF_ERROR(CheckShape(input, *array));
    known.insert(name);
    names.push_back(name);
  }
  for (const v1::TensorInfo& array : arrays) {
    if (known.contains(array.name())) continue;
    return absl::InvalidArgumentError(absl::StrCat("array ", array.name(), " is none of the model's inputs (",
                                                   NamesOf(model.inputs()), "), nor its labels (y) or an output; leave it out"));
  }
  return names;
}

}  // namespace pactory
