#include "quant/data/dataset.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/data/mapped_file.h"
#include "quant/data/npz_dataset.h"
#include "quant/data/tar_dataset.h"
#include "quant/guard.h"

namespace pactory::quant {

int64_t Dataset::classes_seen() const {
  const at::Tensor all = labels();
  return all.defined() ? all.max().item<int64_t>() + 1 : 0;
}

absl::StatusOr<SampleRegions> Dataset::ReadRegions() const {
  return absl::InvalidArgumentError("data must be a tar of images with a .json file of regions beside each");
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const std::string& path, const v1::PreprocessConfig& preprocess,
                                                     const Graph& graph, const std::vector<std::string>& target_names) {
  PACTORY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  std::unique_ptr<Dataset> dataset;
  const absl::Status status = GuardTorch("data", [&]() -> absl::Status {
    // Zip archives begin with a member's header, or are empty.
    const absl::string_view magic = file.bytes().substr(0, 4);
    if (magic == absl::string_view("PK\x03\x04", 4) || magic == absl::string_view("PK\x05\x06", 4)) {
      PACTORY_ASSIGN_OR_RETURN(dataset, OpenNpzDataset(std::move(file), preprocess, graph, target_names));
    } else if (graph.inputs.size() == 1) {
      PACTORY_ASSIGN_OR_RETURN(dataset, OpenTarDataset(std::move(file), preprocess, graph.inputs[0],
                                                       target_names.empty() ? "" : target_names[0]));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("must be an .npz with an array for each of the model's ", graph.inputs.size(),
                                                     " inputs; a tar of images feeds one"));
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return Prefixed(status, absl::StrCat(path, ": "));
  return dataset;
}

std::vector<at::Tensor> OnDevice(std::vector<at::Tensor> tensors, at::Device device) {
  for (at::Tensor& tensor : tensors) tensor = tensor.to(device);
  return tensors;
}

absl::Status CheckLabels(const Dataset& dataset, int64_t classes, const std::string& path) {
  const at::Tensor labels = dataset.labels();
  if (!labels.defined()) return absl::OkStatus();
  const int64_t least = dataset.has_classes() ? 0 : 1;
  at::Tensor is_bad = (labels < least).logical_or(labels >= classes);
  if (!dataset.has_classes()) is_bad = is_bad.logical_and(labels != -1);
  // One row for each bad label: its indices.
  const at::Tensor bad = at::nonzero(is_bad);
  if (bad.size(0) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": labels must be from ", least, " to ", classes - 1, ", as the model has ", classes, " classes: index=",
      bad[0][0].item<int64_t>(), " label=", labels.masked_select(is_bad)[0].item<int64_t>(), " bad_labels=", bad.size(0)));
}

absl::Status CheckSequencesFit(const Dataset& dataset, int64_t steps, const std::string& path) {
  const at::Tensor labels = dataset.labels();
  if (!labels.defined() || dataset.has_classes()) return absl::OkStatus();
  const at::Tensor repeats = labels.slice(1, 1).eq(labels.slice(1, 0, -1)).logical_and(labels.slice(1, 1).ne(-1)).sum(1);
  const at::Tensor needed = labels.ne(-1).sum(1) + repeats;
  const at::Tensor bad = at::nonzero(needed > steps);
  if (bad.size(0) == 0) return absl::OkStatus();
  const int64_t first = bad[0][0].item<int64_t>();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": labels must fit the model's ", steps, " steps, a blank between equal characters included; leave longer ones out, or give a "
      "wider input (preprocess.width): index=", first, " needed steps=", needed[first].item<int64_t>(), " bad_labels=", bad.size(0)));
}

}  // namespace pactory::quant
