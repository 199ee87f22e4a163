// Samples to calibrate, train and evaluate on, already preprocessed into the model's inputs. Used by training and
// evaluation. Thread-safe once open.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/data/region.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Some samples, in the order asked for.
struct Batch {
  /// One for each of the model's inputs, in their order and of their types; N x the shape of a sample.
  std::vector<at::Tensor> inputs;
  /// int64, N or N x L; undefined where the data has no labels.
  at::Tensor y;
  /// float32, N x any shape, by name: what regression outputs are compared with.
  std::map<std::string, at::Tensor> targets = {};
};

/// Where the objects of each sample are, in pixels of the model's input, whose size is that of every sample.
struct SampleRegions {
  std::vector<std::vector<Region>> samples;
  int64_t height = 0;
  int64_t width = 0;
};

/// A set of samples.
class Dataset {
 public:
  virtual ~Dataset() = default;

  /// Number of samples, at least 1.
  virtual int64_t size() const = 0;
  /// All labels, int64 in the set's order: a class for each sample (N), or a sequence of classes (N x L) filled up with -1;
  /// undefined where there are none.
  virtual at::Tensor labels() const = 0;
  /// Reads samples by index. INVALID_ARGUMENT names the file and the sample that can't be read.
  virtual absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const = 0;

  /// Shapes of the targets, without the batch dimension, by name.
  virtual std::map<std::string, std::vector<int64_t>> targets() const { return {}; }

  /// Reads the objects of every sample. INVALID_ARGUMENT names the sample whose are missing or wrong.
  virtual absl::StatusOr<SampleRegions> ReadRegions() const;

  bool has_labels() const { return labels().defined(); }
  /// Whether each sample has one class, which a cross-entropy needs.
  bool has_classes() const { return has_labels() && labels().dim() == 1; }
  /// Largest label + 1; 0 where there are none.
  int64_t classes_seen() const;
};

/// Opens a dataset for the inputs and outputs of `graph`: `.npz` (npz/dataset_layout.h says which arrays) or, for a model with one
/// input, a WebDataset tar (tar_dataset.h says which files), told apart by content. INVALID_ARGUMENT names the file, the array or sample
/// and the index of what is wrong: an empty set, a type or shape that does not fit the input, NaN or infinity.
///
/// `target_names`: outputs of a model that is compared with targets. An .npz's arrays of these names are targets then, `y` that of the
/// first one, and there are no labels; a tar's masks are targets of the first one.
absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const std::string& path, const v1::PreprocessConfig& preprocess,
                                                     const Graph& graph, const std::vector<std::string>& target_names = {});

/// Moves tensors to a device; those that are there already are not copied.
std::vector<at::Tensor> OnDevice(std::vector<at::Tensor> tensors, at::Device device);

/// Checks every label against the model's number of classes; in sequences 0, CTC's blank, is no label. INVALID_ARGUMENT names
/// `path`, the first bad index and label.
absl::Status CheckLabels(const Dataset& dataset, int64_t classes, const std::string& path);

/// Checks that each label's sequence can be written in a model's number of steps, as CTC does: a blank goes between two equal classes.
/// INVALID_ARGUMENT names `path`, the first bad index and how many there are.
absl::Status CheckSequencesFit(const Dataset& dataset, int64_t steps, const std::string& path);

}  // namespace pactory::quant
