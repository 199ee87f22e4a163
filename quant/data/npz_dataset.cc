#include "quant/data/npz_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "npz/dataset_layout.h"
#include "npz/preprocess_inputs.h"
#include "npz/zip_directory.h"
#include "quant/data/npy_array.h"
#include "quant/data/preprocess.h"
#include "quant/data/signature.h"

namespace pactory::quant {
namespace {

// An array and the memory behind it where it had to be inflated.
struct LoadedArray {
  NpyArray array;
  std::shared_ptr<const std::string> inflated;
};

RangedFile Ranged(absl::string_view bytes) {
  return {static_cast<int64_t>(bytes.size()),
          [bytes](int64_t offset, int64_t size) { return std::string(bytes.substr(offset, size)); }};
}

absl::StatusOr<LoadedArray> Load(absl::string_view archive, const ZipMember& member) {
  PACTORY_ASSIGN_OR_RETURN(const int64_t content, FindContent(Ranged(archive), member));
  absl::string_view bytes = archive.substr(content, member.stored_size);
  LoadedArray loaded;
  if (member.method != 0) {
    PACTORY_ASSIGN_OR_RETURN(std::string inflated, Inflate(member, bytes));
    loaded.inflated = std::make_shared<const std::string>(std::move(inflated));
    bytes = *loaded.inflated;
  }
  absl::StatusOr<NpyArray> array = ParseNpy(bytes);
  if (!array.ok()) return Prefixed(array.status(), absl::StrCat("array ", member.name, ": "));
  loaded.array = *std::move(array);
  return loaded;
}

absl::Status CheckFinite(const NpyArray& array, absl::string_view name) {
  if (!at::isFloatingType(array.type())) return absl::OkStatus();
  const int64_t chunk = std::max<int64_t>(1, (int64_t{1} << 22) / std::max<int64_t>(1, array.row_bytes()));
  std::vector<int64_t> indices(chunk);
  for (int64_t first = 0; first < array.header.shape[0]; first += chunk) {
    const int64_t count = std::min(chunk, array.header.shape[0] - first);
    std::iota(indices.begin(), indices.end(), first);
    const at::Tensor finite = at::isfinite(array.Rows(indices.data(), count)).reshape({count, -1}).all(1);
    if (finite.all().item<bool>()) continue;
    const int64_t bad = at::nonzero(finite.logical_not())[0].item<int64_t>() + first;
    return absl::InvalidArgumentError(absl::StrCat("array ", name, " must be finite, it holds NaN or infinity: index=", bad));
  }
  return absl::OkStatus();
}

// -1 fills a sequence up, so nothing may follow it.
absl::Status CheckFilling(const at::Tensor& sequences) {
  const at::Tensor filled = sequences.eq(-1);
  const at::Tensor resumed = filled.slice(1, 0, -1).logical_and(filled.slice(1, 1).logical_not()).any(1);
  if (!resumed.any().item<bool>()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a sequence of y must hold -1 at its end alone, where it is filled up: index=",
                                                 at::nonzero(resumed)[0].item<int64_t>()));
}

absl::StatusOr<at::Tensor> ReadLabels(const NpyArray& y) {
  const std::vector<int64_t>& shape = y.header.shape;
  std::vector<int64_t> indices(shape[0]);
  std::iota(indices.begin(), indices.end(), 0);
  const at::Tensor labels = y.Rows(indices.data(), shape[0]).to(at::kLong);
  const bool sequences = shape.size() == 2 && shape[1] > 1;
  if (!sequences) return labels.reshape({shape[0]});
  PACTORY_RETURN_IF_ERROR(CheckFilling(labels));
  return labels;
}

// What one input of the model takes.
struct InputArray {
  LoadedArray loaded;
  at::ScalarType type = at::kFloat;
  // None where the stored values are the input's.
  std::optional<Preprocess> preprocess;

  at::Tensor Rows(absl::Span<const int64_t> indices) const {
    const at::Tensor stored = loaded.array.Rows(indices.data(), static_cast<int64_t>(indices.size()));
    return (preprocess.has_value() ? preprocess->Apply(stored) : stored).to(type);
  }
};

class NpzDataset : public Dataset {
 public:
  NpzDataset(MappedFile file, std::vector<InputArray> inputs, at::Tensor labels, std::map<std::string, LoadedArray> targets)
      : file_(std::move(file)), inputs_(std::move(inputs)), labels_(std::move(labels)), targets_(std::move(targets)) {}

  int64_t size() const override { return inputs_[0].loaded.array.header.shape[0]; }
  at::Tensor labels() const override { return labels_; }
  std::map<std::string, std::vector<int64_t>> targets() const override {
    std::map<std::string, std::vector<int64_t>> shapes;
    for (const auto& [name, loaded] : targets_) shapes[name] = {loaded.array.header.shape.begin() + 1, loaded.array.header.shape.end()};
    return shapes;
  }

  absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const override {
    for (const int64_t index : indices) {
      if (index < 0 || index >= size()) {
        return absl::InvalidArgumentError(absl::StrCat("sample must be in the set: index=", index, " size=", size()));
      }
    }
    const int64_t count = static_cast<int64_t>(indices.size());
    Batch batch;
    for (const InputArray& input : inputs_) batch.inputs.push_back(input.Rows(indices));
    if (labels_.defined()) {
      batch.y = at::index_select(labels_, 0, at::tensor(at::ArrayRef<int64_t>(indices.data(), count), at::kLong));
    }
    for (const auto& [name, loaded] : targets_) batch.targets[name] = loaded.array.Rows(indices.data(), count).to(at::kFloat);
    return batch;
  }

 private:
  // Holds the memory that the arrays read.
  MappedFile file_;
  // At least one.
  std::vector<InputArray> inputs_;
  at::Tensor labels_;
  std::map<std::string, LoadedArray> targets_;
};

absl::StatusOr<Preprocess> PreprocessOf(const v1::PreprocessConfig& config, const NpyHeader& header) {
  const int64_t channels = header.shape.size() > 1 ? header.shape[1] : 1;
  return Preprocess::Create(config, header.kind == NpyKind::kUnsigned ? 1.0 / 255 : 1.0, channels);
}

// Labels are for models that are not trained on targets.
absl::StatusOr<at::Tensor> LoadLabels(absl::string_view archive, const std::vector<ZipMember>& members, const ArrayList& arrays) {
  const v1::TensorInfo* info = FindArray(arrays, kLabelArray);
  if (info == nullptr) return at::Tensor();
  if (!HasLabels(arrays)) {
    return absl::InvalidArgumentError("array y must hold integers, the labels; floats are targets, for training.task_loss MSE or L1");
  }
  PACTORY_ASSIGN_OR_RETURN(const LoadedArray labels, Load(archive, *FindArray(members, kLabelArray)));
  return ReadLabels(labels.array);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenNpzDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const Graph& graph, const std::vector<std::string>& target_names) {
  PACTORY_ASSIGN_OR_RETURN(const v1::Model model, SignatureOf(graph));
  PACTORY_ASSIGN_OR_RETURN(const std::set<std::string> preprocessed, PreprocessedInputs(preprocess, model));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(Ranged(file.bytes())));
  PACTORY_ASSIGN_OR_RETURN(const ArrayList arrays, ReadArrays(Ranged(file.bytes()), members));
  PACTORY_RETURN_IF_ERROR(CheckArrays(arrays));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ArraysOfInputs(model, arrays, preprocessed));
  std::vector<InputArray> inputs(names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    PACTORY_ASSIGN_OR_RETURN(inputs[i].loaded, Load(file.bytes(), *FindArray(members, names[i])));
    const NpyArray& array = inputs[i].loaded.array;
    PACTORY_RETURN_IF_ERROR(CheckFinite(array, names[i]));
    inputs[i].type = graph.inputs[i].type;
    if (!preprocessed.contains(graph.inputs[i].name)) continue;
    PACTORY_ASSIGN_OR_RETURN(inputs[i].preprocess, PreprocessOf(preprocess, array.header));
  }
  at::Tensor labels;
  if (target_names.empty()) {
    PACTORY_ASSIGN_OR_RETURN(labels, LoadLabels(file.bytes(), members, arrays));
  }
  std::map<std::string, LoadedArray> targets;
  for (size_t i = 0; i < target_names.size(); ++i) {
    const ZipMember* member = FindArray(members, target_names[i]);
    if (member == nullptr && i == 0) member = FindArray(members, kLabelArray);
    if (member == nullptr) continue;
    PACTORY_ASSIGN_OR_RETURN(LoadedArray target, Load(file.bytes(), *member));
    PACTORY_RETURN_IF_ERROR(CheckFinite(target.array, member->name));
    targets.emplace(target_names[i], std::move(target));
  }
  return std::unique_ptr<Dataset>(new NpzDataset(std::move(file), std::move(inputs), std::move(labels), std::move(targets)));
}

}  // namespace pactory::quant
