#include "npz/preprocess_inputs.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "npz/dataset_layout.h"

namespace pactory {
bool MovesPixels(const v1::AugmentationConfig& change) {
  return change.horizontal_flip() > 0 || change.vertical_flip() > 0 || change.crop_padding() > 0 ||
         (change.has_min_crop_area() && change.min_crop_area() < 1) || change.zoom() > 0;
}

bool ChangesColors(const v1::AugmentationConfig& change) { return change.saturation() > 0 || change.hue() > 0; }

bool Augments(const v1::AugmentationConfig& change) {
  return MovesPixels(change) || change.brightness() > 0 || change.contrast() > 0 || ChangesColors(change);
}

absl::StatusOr<std::set<std::string>> PreprocessedInputs(const v1::PreprocessConfig& config, const v1::Model& model) {
  std::set<std::string> floats, chosen;
  for (const v1::TensorInfo& input : model.inputs()) {
    if (!IsFloat(input)) continue;
    floats.insert(input.name());
    if (model.inputs_size() == 1 || input.dims_size() == 4) chosen.insert(input.name());
  }
  if (!config.inputs().empty()) {
    for (const std::string& name : config.inputs()) {
      if (floats.contains(name)) continue;
      return InvalidField("preprocess.inputs", absl::StrCat("must be inputs of the model that hold floats (",
                                                            absl::StrJoin(floats, ", "), "), not ", name));
    }
    return std::set<std::string>(config.inputs().begin(), config.inputs().end());
  }
  if (chosen.size() == 1) return chosen;
  const bool is_set = config.has_scale() || !config.mean().empty() || !config.std().empty();
  if (!is_set) return std::set<std::string>();
  return InvalidField("preprocess.inputs",
                      absl::StrCat("must name the inputs that preprocess.scale, mean and std are for, as ",
                                   chosen.empty() ? "none has" : "several have", " four dimensions; the model's inputs of floats: ",
                                   absl::StrJoin(floats, ", ")));
}

absl::Status CheckAugmentedInputs(const v1::PreprocessConfig& config, const v1::Model& model) {
  const v1::AugmentationConfig& change = config.augmentation();
  if (!Augments(change)) return absl::OkStatus();
  PACTORY_ASSIGN_OR_RETURN(const std::set<std::string> preprocessed, PreprocessedInputs(config, model));
  bool finds_images = false;
  for (const v1::TensorInfo& input : model.inputs()) {
    const bool tells_shape = input.dims_size() > 0;
    if (!preprocessed.contains(input.name()) || (tells_shape && input.dims_size() != 4)) continue;
    finds_images = true;
    if (!ChangesColors(change) || !tells_shape || input.dims(1) < 0 || input.dims(1) == 3) continue;
    return InvalidField(absl::StrCat("preprocess.augmentation.", change.saturation() > 0 ? "saturation" : "hue"),
                        absl::StrCat("needs images with 3 channels on axis 1, not ", input.dims(1), "; leave it out: input=",
                                     input.name()));
  }
  if (finds_images) return absl::OkStatus();
  return InvalidField("preprocess.augmentation",
                      absl::StrCat("needs an input of images, N x C x H x W, which preprocess.inputs names where there are several; "
                                   "leave it out: preprocessed inputs=", absl::StrJoin(preprocessed, ",")));
}

}  // namespace pactory
