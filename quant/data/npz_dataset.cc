#include "quant/data/npz_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/data/npy_array.h"
#include "quant/data/preprocess.h"
#include "quant/data/zip_directory.h"

namespace pactory::quant {
namespace {

std::string Text(const std::vector<int64_t>& dims) { return absl::StrCat("[", absl::StrJoin(dims, ","), "]"); }

// An array and the memory behind it where it had to be inflated.
struct LoadedArray {
  NpyArray array;
  std::shared_ptr<const std::string> inflated;
};

absl::StatusOr<LoadedArray> Load(absl::string_view archive, const ZipMember& member) {
  LoadedArray loaded;
  absl::string_view bytes = member.data;
  if (member.method != 0) {
    PACTORY_ASSIGN_OR_RETURN(std::string content, InflateMember(archive, member));
    loaded.inflated = std::make_shared<const std::string>(std::move(content));
    bytes = *loaded.inflated;
  }
  absl::StatusOr<NpyArray> array = ParseNpy(bytes);
  if (!array.ok()) return Prefixed(array.status(), absl::StrCat("array ", member.name, ": "));
  loaded.array = *std::move(array);
  return loaded;
}

// The model's open dimensions (-1) take any size.
absl::Status CheckShape(const std::vector<int64_t>& shape, const ValueInfo& input) {
  if (shape.empty() || shape[0] == 0) {
    return absl::InvalidArgumentError(absl::StrCat("array x must hold at least one sample: shape=", Text(shape)));
  }
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
  return absl::InvalidArgumentError(absl::StrCat("array x must have the shape of the model's input: x=", Text(shape),
                                                 " input=", Text(input.dims), " name=", input.name, hint));
}

absl::Status CheckFinite(const NpyArray& x) {
  if (!at::isFloatingType(x.type)) return absl::OkStatus();
  const int64_t chunk = std::max<int64_t>(1, (int64_t{1} << 22) / std::max<int64_t>(1, x.row_bytes()));
  std::vector<int64_t> indices(chunk);
  for (int64_t first = 0; first < x.shape[0]; first += chunk) {
    const int64_t count = std::min(chunk, x.shape[0] - first);
    std::iota(indices.begin(), indices.end(), first);
    const at::Tensor finite = at::isfinite(x.Rows(indices.data(), count)).reshape({count, -1}).all(1);
    if (finite.all().item<bool>()) continue;
    const int64_t bad = at::nonzero(finite.logical_not())[0].item<int64_t>() + first;
    return absl::InvalidArgumentError(absl::StrCat("array x must be finite, it holds NaN or infinity: index=", bad));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> ReadLabels(const NpyArray& y, int64_t samples) {
  const bool column = y.shape.size() == 2 && y.shape[1] == 1;
  if ((y.shape.size() != 1 && !column) || y.shape[0] != samples) {
    return absl::InvalidArgumentError(
        absl::StrCat("array y must have one label for each sample of x: y=", Text(y.shape), " samples=", samples));
  }
  if (!at::isIntegralType(y.type, /*includeBool=*/false)) {
    return absl::InvalidArgumentError(absl::StrCat("array y must hold integers: dtype=", c10::toString(y.type)));
  }
  std::vector<int64_t> indices(samples);
  std::iota(indices.begin(), indices.end(), 0);
  return y.Rows(indices.data(), samples).reshape({samples}).to(at::kLong);
}

class NpzDataset : public Dataset {
 public:
  NpzDataset(MappedFile file, LoadedArray x, at::Tensor labels, Preprocess preprocess)
      : file_(std::move(file)), x_(std::move(x)), labels_(std::move(labels)), preprocess_(std::move(preprocess)) {}

  int64_t size() const override { return x_.array.shape[0]; }
  std::vector<int64_t> sample_shape() const override {
    return std::vector<int64_t>(x_.array.shape.begin() + 1, x_.array.shape.end());
  }
  at::Tensor labels() const override { return labels_; }

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
    return batch;
  }

 private:
  // Holds the memory that x_ reads.
  MappedFile file_;
  LoadedArray x_;
  at::Tensor labels_;
  Preprocess preprocess_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenNpzDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(file.bytes()));
  const auto find = [&](absl::string_view name) {
    return std::find_if(members.begin(), members.end(), [&](const ZipMember& member) {
      return member.name == name || member.name == absl::StrCat(name, ".npy");
    });
  };
  const auto x_member = find("x");
  if (x_member == members.end()) {
    std::vector<std::string> names;
    for (const ZipMember& member : members) names.push_back(member.name);
    return absl::InvalidArgumentError(
        absl::StrCat("archive must hold an array named x: arrays=", absl::StrJoin(names, ",")));
  }
  PACTORY_ASSIGN_OR_RETURN(LoadedArray x, Load(file.bytes(), *x_member));
  const at::ScalarType type = x.array.type;
  if (type != at::kByte && type != at::kChar && !at::isFloatingType(type)) {
    return absl::InvalidArgumentError(absl::StrCat("array x must be uint8, int8, float16, float32 or float64: dtype=",
                                                   c10::toString(type)));
  }
  PACTORY_RETURN_IF_ERROR(CheckShape(x.array.shape, input));
  PACTORY_RETURN_IF_ERROR(CheckFinite(x.array));
  at::Tensor labels;
  if (const auto y_member = find("y"); y_member != members.end()) {
    PACTORY_ASSIGN_OR_RETURN(const LoadedArray y, Load(file.bytes(), *y_member));
    PACTORY_ASSIGN_OR_RETURN(labels, ReadLabels(y.array, x.array.shape[0]));
  }
  const int64_t channels = x.array.shape.size() > 1 ? x.array.shape[1] : 1;
  PACTORY_ASSIGN_OR_RETURN(Preprocess ready,
                           Preprocess::Create(preprocess, type == at::kByte ? 1.0 / 255 : 1.0, channels));
  return std::unique_ptr<Dataset>(
      new NpzDataset(std::move(file), std::move(x), std::move(labels), std::move(ready)));
}

}  // namespace pactory::quant
