#include "quant/data/npz_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "npz/dataset_layout.h"
#include "npz/zip_directory.h"
#include "quant/data/npy_array.h"
#include "quant/data/preprocess.h"

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

// The model's open dimensions (-1) take any size.
absl::Status CheckShape(const std::vector<int64_t>& shape, const ValueInfo& input) {
  if (!input.rank_known) return absl::OkStatus();
  bool fits = shape.size() == input.dims.size();
  for (size_t axis = 1; fits && axis < shape.size(); ++axis) {
    fits = input.dims[axis] < 0 || input.dims[axis] == shape[axis];
  }
  if (fits) return absl::OkStatus();
  std::string hint;
  if (shape.size() == 4 && input.dims.size() == 4 && input.dims[1] == shape[3]) {
    hint = "; channels come before height and width: transpose x by (0, 3, 1, 2)";
  }
  return absl::InvalidArgumentError(absl::StrCat("array x must have the shape of the model's input: x=", ShapeText(shape),
                                                 " input=", ShapeText(input.dims), " name=", input.name, hint));
}

absl::Status CheckFinite(const NpyArray& x, absl::string_view name) {
  if (!at::isFloatingType(x.type())) return absl::OkStatus();
  const int64_t chunk = std::max<int64_t>(1, (int64_t{1} << 22) / std::max<int64_t>(1, x.row_bytes()));
  std::vector<int64_t> indices(chunk);
  for (int64_t first = 0; first < x.header.shape[0]; first += chunk) {
    const int64_t count = std::min(chunk, x.header.shape[0] - first);
    std::iota(indices.begin(), indices.end(), first);
    const at::Tensor finite = at::isfinite(x.Rows(indices.data(), count)).reshape({count, -1}).all(1);
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

absl::Status CheckTarget(const NpyArray& array, absl::string_view name, int64_t samples) {
  const std::vector<int64_t>& shape = array.header.shape;
  if (shape.empty() || shape[0] != samples) {
    return absl::InvalidArgumentError(absl::StrCat("array ", name, " must have one target for each sample of x: shape=",
                                                   ShapeText(shape), " samples=", samples));
  }
  return CheckFinite(array, name);
}

absl::StatusOr<at::Tensor> ReadLabels(const NpyArray& y, const NpyArray& x) {
  PACTORY_RETURN_IF_ERROR(CheckLabelArray(x.header, y.header));
  const int64_t samples = x.header.shape[0];
  const bool sequences = y.header.shape.size() == 2 && y.header.shape[1] > 1;
  std::vector<int64_t> indices(samples);
  std::iota(indices.begin(), indices.end(), 0);
  const at::Tensor labels = y.Rows(indices.data(), samples).to(at::kLong);
  if (!sequences) return labels.reshape({samples});
  PACTORY_RETURN_IF_ERROR(CheckFilling(labels));
  return labels;
}

class NpzDataset : public Dataset {
 public:
  NpzDataset(MappedFile file, LoadedArray x, at::Tensor labels, std::map<std::string, LoadedArray> targets, Preprocess preprocess)
      : file_(std::move(file)),
        x_(std::move(x)),
        labels_(std::move(labels)),
        targets_(std::move(targets)),
        preprocess_(std::move(preprocess)) {}

  int64_t size() const override { return x_.array.header.shape[0]; }
  std::vector<int64_t> sample_shape() const override {
    return std::vector<int64_t>(x_.array.header.shape.begin() + 1, x_.array.header.shape.end());
  }
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
    batch.x = preprocess_.Apply(x_.array.Rows(indices.data(), count));
    if (labels_.defined()) {
      batch.y = at::index_select(labels_, 0, at::tensor(at::ArrayRef<int64_t>(indices.data(), count), at::kLong));
    }
    for (const auto& [name, loaded] : targets_) batch.targets[name] = loaded.array.Rows(indices.data(), count).to(at::kFloat);
    return batch;
  }

 private:
  // Holds the memory that the arrays read.
  MappedFile file_;
  LoadedArray x_;
  at::Tensor labels_;
  std::map<std::string, LoadedArray> targets_;
  Preprocess preprocess_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenNpzDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input,
                                                        const std::vector<std::string>& target_names) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(Ranged(file.bytes())));
  const ZipMember* x_member = FindArray(members, "x");
  if (x_member == nullptr) {
    std::vector<std::string> names;
    for (const ZipMember& member : members) names.push_back(member.name);
    return absl::InvalidArgumentError(
        absl::StrCat("archive must hold an array named x: arrays=", absl::StrJoin(names, ",")));
  }
  PACTORY_ASSIGN_OR_RETURN(LoadedArray x, Load(file.bytes(), *x_member));
  const NpyHeader& header = x.array.header;
  PACTORY_RETURN_IF_ERROR(CheckSampleArray(header));
  PACTORY_RETURN_IF_ERROR(CheckShape(header.shape, input));
  PACTORY_RETURN_IF_ERROR(CheckFinite(x.array, "x"));
  at::Tensor labels;
  std::map<std::string, LoadedArray> targets;
  for (size_t i = 0; i < target_names.size(); ++i) {
    const ZipMember* member = FindArray(members, target_names[i]);
    if (member == nullptr && i == 0) member = FindArray(members, "y");
    if (member == nullptr) continue;
    PACTORY_ASSIGN_OR_RETURN(LoadedArray target, Load(file.bytes(), *member));
    PACTORY_RETURN_IF_ERROR(CheckTarget(target.array, member->name, header.shape[0]));
    targets.emplace(target_names[i], std::move(target));
  }
  if (const ZipMember* y_member = FindArray(members, "y"); y_member != nullptr && target_names.empty()) {
    PACTORY_ASSIGN_OR_RETURN(const LoadedArray y, Load(file.bytes(), *y_member));
    PACTORY_ASSIGN_OR_RETURN(labels, ReadLabels(y.array, x.array));
  }
  const int64_t channels = header.shape.size() > 1 ? header.shape[1] : 1;
  const double scale = header.kind == NpyKind::kUnsigned ? 1.0 / 255 : 1.0;
  PACTORY_ASSIGN_OR_RETURN(Preprocess ready, Preprocess::Create(preprocess, scale, channels));
  return std::unique_ptr<Dataset>(
      new NpzDataset(std::move(file), std::move(x), std::move(labels), std::move(targets), std::move(ready)));
}

}  // namespace pactory::quant
