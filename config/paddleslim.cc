#include "config/paddleslim.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_rules.h"

namespace pactory {
namespace {

// Collects what the keys say, one at a time.
class Conversion {
 public:
  absl::Status Take(const std::string& key, const YAML::Node& value);
  absl::StatusOr<ConvertedConfig> Finish();

  void Note(absl::string_view key, absl::string_view text) { result_.notes.push_back(absl::StrCat(key, ": ", text)); }

 private:
  using Handler = std::function<absl::Status(Conversion&, const std::string& key, const YAML::Node& value)>;
  static const std::map<std::string, Handler>& Handlers();

  absl::Status TakeWeightType(const std::string& key, const YAML::Node& value);
  absl::Status TakeActivationType(const std::string& key, const YAML::Node& value);
  absl::Status TakeActivationPreprocess(const std::string& key, const YAML::Node& value);
  absl::Status TakeWeightPreprocess(const std::string& key, const YAML::Node& value);
  absl::Status TakeSkipPatterns(const std::string& key, const YAML::Node& value);
  absl::Status TakeOpTypes(const std::string& key, const YAML::Node& value);
  absl::Status TakeBackend(const std::string& key, const YAML::Node& value);
  absl::Status TakeAlgorithm(const std::string& key, const YAML::Node& value);
  absl::Status TakeRounding(const std::string& key, const YAML::Node& value);
  void FinishPostTraining();

  ConvertedConfig result_;
  bool pact_ = false;
  // Set by keys that only quant_post_static has.
  bool post_training_ = false;
  v1::CalibrationConfig::Threshold threshold_ = v1::CalibrationConfig::THRESHOLD_UNSPECIFIED;
  int64_t batch_size_ = 1;
  int64_t batches_ = 0;
};

// Python's None, YAML's null and an empty string.
bool IsNone(const YAML::Node& value) {
  return value.IsNull() || (value.IsScalar() && (value.Scalar() == "None" || value.Scalar().empty()));
}

std::string TextOf(const YAML::Node& value) {
  YAML::Emitter out;
  out << YAML::Flow << value;
  return out.c_str();
}

absl::StatusOr<bool> ReadBool(const std::string& key, const YAML::Node& value) {
  const std::string text = value.IsScalar() ? absl::AsciiStrToLower(value.Scalar()) : "";
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return InvalidField(key, absl::StrCat("must be True or False, not ", TextOf(value)));
}

absl::StatusOr<double> ReadNumber(const std::string& key, const YAML::Node& value) {
  double number = 0;
  if (value.IsScalar() && absl::SimpleAtod(value.Scalar(), &number)) return number;
  return InvalidField(key, absl::StrCat("must be a number, not ", TextOf(value)));
}

absl::StatusOr<int64_t> ReadWhole(const std::string& key, const YAML::Node& value, int64_t from, int64_t to) {
  PACTORY_ASSIGN_OR_RETURN(const double number, ReadNumber(key, value));
  if (number >= static_cast<double>(from) && number <= static_cast<double>(to) && number == std::floor(number)) {
    return static_cast<int64_t>(number);
  }
  return InvalidField(key, absl::StrCat("must be a whole number from ", from, " to ", to, " here, not ", TextOf(value)));
}

absl::StatusOr<std::vector<std::string>> ReadList(const std::string& key, const YAML::Node& value) {
  std::vector<std::string> items;
  if (IsNone(value)) return items;
  if (value.IsScalar()) return std::vector<std::string>{value.Scalar()};
  if (!value.IsSequence()) return InvalidField(key, absl::StrCat("must be a list, not ", TextOf(value)));
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) return InvalidField(key, absl::StrCat("must be a list of words, not ", TextOf(value)));
    items.push_back(item.Scalar());
  }
  return items;
}

absl::Status BadChoice(const std::string& key, const YAML::Node& value, absl::string_view choices) {
  return InvalidField(key, absl::StrCat("must be one of ", choices, ", not ", TextOf(value)));
}

absl::Status Conversion::TakeWeightType(const std::string& key, const YAML::Node& value) {
  static const std::map<std::string, v1::QuantizerMethod> kMethods = {
      {"channel_wise_abs_max", v1::CHANNEL_ABS_MAX}, {"abs_max", v1::ABS_MAX},          {"range_abs_max", v1::ABS_MAX},
      {"moving_average_abs_max", v1::ABS_MAX},       {"lsq_weight", v1::LSQ},           {"channel_wise_lsq_weight", v1::CHANNEL_LSQ}};
  const auto method = kMethods.find(value.IsScalar() ? value.Scalar() : "");
  if (method == kMethods.end()) {
    return BadChoice(key, value,
                     "channel_wise_abs_max, abs_max, range_abs_max, moving_average_abs_max, lsq_weight, channel_wise_lsq_weight");
  }
  result_.config.mutable_weights()->set_method(method->second);
  if (method->first == "range_abs_max" || method->first == "moving_average_abs_max") {
    Note(key, absl::StrCat(method->first, " became ABS_MAX: the range of a weight is measured anew in each step"));
  }
  return absl::OkStatus();
}

absl::Status Conversion::TakeActivationType(const std::string& key, const YAML::Node& value) {
  static const std::map<std::string, v1::QuantizerMethod> kMethods = {{"abs_max", v1::ABS_MAX},
                                                                      {"range_abs_max", v1::RANGE_ABS_MAX},
                                                                      {"moving_average_abs_max", v1::MOVING_AVERAGE_ABS_MAX},
                                                                      {"lsq_act", v1::LSQ}};
  const auto method = kMethods.find(value.IsScalar() ? value.Scalar() : "");
  if (method == kMethods.end()) return BadChoice(key, value, "abs_max, range_abs_max, moving_average_abs_max, lsq_act");
  result_.config.mutable_activations()->set_method(method->second);
  // All three take the largest |x| as it is.
  if (method->second != v1::LSQ) result_.config.mutable_calibration()->set_threshold(v1::CalibrationConfig::MAX);
  if (method->first == "abs_max") Note(key, "abs_max became ABS_MAX: max|x| of the calibration data, not of each batch");
  return absl::OkStatus();
}

absl::Status Conversion::TakeActivationPreprocess(const std::string& key, const YAML::Node& value) {
  if (IsNone(value)) return absl::OkStatus();
  if (!value.IsScalar() || value.Scalar() != "PACT") return BadChoice(key, value, "PACT, None");
  pact_ = true;
  return absl::OkStatus();
}

absl::Status Conversion::TakeWeightPreprocess(const std::string& key, const YAML::Node& value) {
  if (IsNone(value)) return absl::OkStatus();
  if (!value.IsScalar() || value.Scalar() != "PACT") return BadChoice(key, value, "PACT, None");
  Note(key, "left out, weights are not clipped; for a learned range of weights set weights.method to CHANNEL_LSQ. Where PACT for "
            "activations was meant, set activations.method to PACT_TWO_SIDED");
  return absl::OkStatus();
}

absl::Status Conversion::TakeSkipPatterns(const std::string& key, const YAML::Node& value) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<std::string> patterns, ReadList(key, value));
  for (const std::string& pattern : patterns) {
    v1::LayerOverride* skip = result_.config.add_overrides();
    skip->set_name(absl::StrCat("*", pattern, "*"));
    skip->set_skip(true);
  }
  if (!patterns.empty()) {
    Note(key, "became overrides by node name; Paddle's name scopes show in an ONNX file only where the exporter kept them");
  }
  return absl::OkStatus();
}

// An op of PaddleSlim and the ONNX ops it becomes; none where it has no weight of its own.
const std::map<std::string, std::set<std::string>>& OpTypes() {
  static const auto* types = new std::map<std::string, std::set<std::string>>{
      {"conv2d", {"Conv"}},
      {"depthwise_conv2d", {"Conv"}},
      {"conv2d_transpose", {"ConvTranspose"}},
      {"mul", {"Gemm", "MatMul"}},
      {"matmul", {"Gemm", "MatMul"}},
      {"matmul_v2", {"Gemm", "MatMul"}},
      {"Conv2D", {"Conv"}},
      {"Conv2DTranspose", {"ConvTranspose"}},
      {"Linear", {"Gemm", "MatMul"}},
      {"pool2d", {}},
      {"elementwise_add", {}},
      {"leaky_relu", {}},
      {"lstm", {}},
      {"gru", {}}};
  return *types;
}

absl::Status Conversion::TakeOpTypes(const std::string& key, const YAML::Node& value) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<std::string> types, ReadList(key, value));
  std::set<std::string> wanted;
  std::vector<std::string> placed, unknown;
  for (const std::string& type : types) {
    const auto found = OpTypes().find(type);
    if (found == OpTypes().end()) {
      unknown.push_back(type);
    } else if (found->second.empty()) {
      placed.push_back(type);
    } else {
      wanted.insert(found->second.begin(), found->second.end());
    }
  }
  if (!unknown.empty()) {
    std::vector<std::string> known;
    for (const auto& [type, ops] : OpTypes()) known.push_back(type);
    return InvalidField(key, absl::StrCat("ops must be among ", absl::StrJoin(known, ", "), ", not ", absl::StrJoin(unknown, ", ")));
  }
  if (!placed.empty()) {
    Note(key, absl::StrCat(absl::StrJoin(placed, ", "), ": the export profile decides where ops without weights are quantized"));
  }
  if (wanted.contains("Conv") && std::find(types.begin(), types.end(), "Conv2D") == types.end() &&
      (std::find(types.begin(), types.end(), "conv2d") == types.end()) !=
          (std::find(types.begin(), types.end(), "depthwise_conv2d") == types.end())) {
    Note(key, "conv2d and depthwise_conv2d are one op in ONNX: both are quantized");
  }
  for (const char* op : {"Conv", "ConvTranspose", "Gemm", "MatMul"}) {
    if (wanted.contains(op)) continue;
    v1::LayerOverride* skip = result_.config.add_overrides();
    skip->set_op_type(op);
    skip->set_skip(true);
  }
  return absl::OkStatus();
}

absl::Status Conversion::TakeBackend(const std::string& key, const YAML::Node& value) {
  if (IsNone(value)) return absl::OkStatus();
  static const std::map<std::string, v1::ExportConfig::Target> kTargets = {
      {"tensorrt", v1::ExportConfig::GPU}, {"mkldnn", v1::ExportConfig::X86}, {"arm", v1::ExportConfig::ARM}};
  const auto target = kTargets.find(value.IsScalar() ? absl::AsciiStrToLower(value.Scalar()) : "");
  if (target == kTargets.end()) return BadChoice(key, value, "TensorRT, MKLDNN, ARM, None");
  result_.config.mutable_export_()->set_target(target->second);
  if (target->second == v1::ExportConfig::GPU) result_.config.mutable_export_()->set_profile(v1::ExportConfig::TENSORRT);
  return absl::OkStatus();
}

absl::Status Conversion::TakeAlgorithm(const std::string& key, const YAML::Node& value) {
  static const std::map<std::string, v1::CalibrationConfig::Threshold> kThresholds = {{"KL", v1::CalibrationConfig::ENTROPY},
                                                                                      {"hist", v1::CalibrationConfig::PERCENTILE},
                                                                                      {"mse", v1::CalibrationConfig::MSE},
                                                                                      {"avg", v1::CalibrationConfig::MSE},
                                                                                      {"emd", v1::CalibrationConfig::MSE},
                                                                                      {"abs_max", v1::CalibrationConfig::MAX}};
  post_training_ = true;
  const auto threshold = kThresholds.find(value.IsScalar() ? value.Scalar() : "");
  if (threshold == kThresholds.end()) return BadChoice(key, value, "KL, hist, mse, avg, emd, abs_max");
  threshold_ = threshold->second;
  if (threshold->first == "avg" || threshold->first == "emd") Note(key, absl::StrCat(threshold->first, " became MSE"));
  return absl::OkStatus();
}

absl::Status Conversion::TakeRounding(const std::string& key, const YAML::Node& value) {
  post_training_ = true;
  if (value.IsScalar() && value.Scalar() == "round") return absl::OkStatus();
  if (!value.IsScalar() || value.Scalar() != "adaround") return BadChoice(key, value, "round, adaround");
  result_.config.mutable_weights()->set_rounding(v1::WeightConfig::ADAROUND);
  return absl::OkStatus();
}

// What keys that hang together came to, whatever their order.
void Conversion::FinishPostTraining() {
  v1::QuantizationConfig& config = result_.config;
  config.mutable_training()->set_enabled(false);
  config.mutable_activations()->set_method(v1::ABS_MAX);
  config.mutable_calibration()->set_threshold(threshold_);
  if (batches_ > 0) config.mutable_calibration()->set_samples(static_cast<int>(batches_ * batch_size_));
  if (config.weights().rounding() == v1::WeightConfig::ADAROUND) config.mutable_weights()->clear_method();
  Note("training", "false: these are keys of post-training quantization");
}

const std::map<std::string, Conversion::Handler>& Conversion::Handlers() {
  // A key whose value changes nothing here; `text` says why.
  const auto left_out = [](const char* text) -> Handler {
    return [text](Conversion& conversion, const std::string& key, const YAML::Node& value) {
      conversion.Note(key, text);
      return absl::OkStatus();
    };
  };
  // A flag that says what is done here anyway when it is `expected`; `text` says what the other value misses.
  const auto flag = [](bool expected, const char* text) -> Handler {
    return [=](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(const bool given, ReadBool(key, value));
      if (given != expected) conversion.Note(key, text);
      return absl::OkStatus();
    };
  };
  const auto number = [](std::function<void(v1::QuantizationConfig&, double)> set) -> Handler {
    return [set](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(const double given, ReadNumber(key, value));
      set(conversion.result_.config, given);
      return absl::OkStatus();
    };
  };
  const auto bits = [](bool of_weights) -> Handler {
    return [of_weights](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(const int64_t given, ReadWhole(key, value, 2, 8));
      if (of_weights) conversion.result_.config.mutable_weights()->set_bits(static_cast<int>(given));
      else conversion.result_.config.mutable_activations()->set_bits(static_cast<int>(given));
      return absl::OkStatus();
    };
  };
  static const auto* handlers = new std::map<std::string, Handler>{
      {"weight_quantize_type", &Conversion::TakeWeightType},
      {"activation_quantize_type", &Conversion::TakeActivationType},
      {"activation_preprocess_type", &Conversion::TakeActivationPreprocess},
      {"weight_preprocess_type", &Conversion::TakeWeightPreprocess},
      {"use_pact",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(conversion.pact_, ReadBool(key, value));
         return absl::OkStatus();
       }},
      {"weight_bits", bits(true)},
      {"activation_bits", bits(false)},
      {"not_quant_pattern", &Conversion::TakeSkipPatterns},
      {"quantize_op_types", &Conversion::TakeOpTypes},
      {"quantizable_op_type", &Conversion::TakeOpTypes},
      {"quantizable_layer_type", &Conversion::TakeOpTypes},
      {"deploy_backend", &Conversion::TakeBackend},
      {"dtype",
       [](Conversion&, const std::string& key, const YAML::Node& value) {
         return value.IsScalar() && value.Scalar() == "int8" ? absl::OkStatus() : BadChoice(key, value, "int8");
       }},
      {"window_size",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(const int64_t given, ReadWhole(key, value, 1, 1000000));
         conversion.result_.config.mutable_activations()->set_window(static_cast<int>(given));
         return absl::OkStatus();
       }},
      {"algo", &Conversion::TakeAlgorithm},
      {"round_type", &Conversion::TakeRounding},
      {"hist_percent",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(const double given, ReadNumber(key, value));
         if (!(given > 0 && given <= 1)) {
           return InvalidField(key, absl::StrCat("must be a share above 0 and at most 1, not ", TextOf(value)));
         }
         conversion.post_training_ = true;
         conversion.result_.config.mutable_calibration()->set_percentile(given * 100);
         return absl::OkStatus();
       }},
      {"bias_correction",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(const bool given, ReadBool(key, value));
         conversion.post_training_ = true;
         conversion.result_.config.mutable_calibration()->set_bias_correction(given);
         return absl::OkStatus();
       }},
      {"batch_nums",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         conversion.post_training_ = true;
         if (IsNone(value)) return absl::OkStatus();
         PACTORY_ASSIGN_OR_RETURN(conversion.batches_, ReadWhole(key, value, 1, 10000));
         return absl::OkStatus();
       }},
      {"batch_size",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(conversion.batch_size_, ReadWhole(key, value, 1, 10000));
         conversion.Note(key, "taken for calibration, with batch_nums; the batch of training is training.batch_size");
         return absl::OkStatus();
       }},
      {"moving_rate", number([](auto& config, double v) { config.mutable_activations()->set_moving_rate(v); })},
      {"learning_rate", number([](auto& config, double v) { config.mutable_training()->set_learning_rate(v); })},
      {"weight_decay", number([](auto& config, double v) { config.mutable_training()->set_weight_decay(v); })},
      {"for_tensorrt",
       [](Conversion& conversion, const std::string& key, const YAML::Node& value) -> absl::Status {
         PACTORY_ASSIGN_OR_RETURN(const bool given, ReadBool(key, value));
         return given ? conversion.TakeBackend(key, YAML::Node(std::string("TensorRT"))) : absl::OkStatus();
       }},
      {"is_full_quantize", flag(false, "left out, the export profile decides which ops without weights are quantized")},
      {"onnx_format", flag(true, "left out, the result is an ONNX file of Q/DQ pairs in any case")},
      {"fuse_conv_bn", flag(true, "left out, BatchNormalization is folded into the layer before it in any case")},
      {"quant_post_first", flag(true, "left out, training starts from calibrated ranges in any case")},
      {"scale_trainable", flag(true, "left out; ranges are learned by activations.method PACT_TWO_SIDED, LSQ and the like alone")},
      {"num_epoch", left_out("left out, training is counted in steps: training.steps = epochs * samples / training.batch_size")},
      {"epochs", left_out("left out, training is counted in steps: training.steps = epochs * samples / training.batch_size")},
      {"max_iter", left_out("left out; set training.steps")},
      {"save_iter_step", left_out("left out; set training.checkpoint_every")},
      {"distill_node_pair", left_out("left out, the outputs are distilled; name tensors between in training.distillation_targets")},
      {"teacher_model_path_prefix", left_out("left out, the uploaded model is the teacher")},
      {"optimize_model", left_out("left out, patterns are fused in any case")},
      {"is_use_cache_file", left_out("left out, calibration keeps histograms and no samples")},
      {"skip_tensor_list", left_out("left out; name layers in overrides, with skip")},
      {"model_path_prefix", left_out("left out, the model is uploaded")},
  };
  return *handlers;
}

absl::Status Conversion::Take(const std::string& key, const YAML::Node& value) {
  const auto handler = Handlers().find(key);
  if (handler != Handlers().end()) return handler->second(*this, key, value);
  std::vector<std::string> known;
  for (const auto& [name, unused] : Handlers()) known.push_back(name);
  return InvalidField(key, absl::StrCat("is no key of PaddleSlim's quantization; those known here are ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<ConvertedConfig> Conversion::Finish() {
  if (post_training_) FinishPostTraining();
  if (pact_) {
    result_.config.mutable_activations()->set_method(v1::PACT_TWO_SIDED);
    // A clipped range needs no largest value to start from.
    result_.config.mutable_calibration()->clear_threshold();
    Note("PACT", "alpha starts from calibration; PaddleSlim's fixed start, above all values, gives alpha no gradient: it is "
                 "activations.alpha {init: 20, learning_rate_multiplier: 1, l2: 1e-4} (static), {init: 100, "
                 "learning_rate_multiplier: 1000, l2: 0} (dygraph)");
  }
  v1::QuantizationConfig complete = result_.config;
  FillDefaults(complete);
  PACTORY_RETURN_IF_ERROR(Prefixed(ValidateConfig(complete), "converted config: "));
  return std::move(result_);
}

// `name = {` of a Python file becomes `{`.
absl::string_view WithoutAssignment(absl::string_view text) {
  const size_t brace = text.find('{'), equals = text.find('=');
  if (brace == absl::string_view::npos || equals == absl::string_view::npos || equals > brace) return text;
  const absl::string_view between = absl::StripAsciiWhitespace(text.substr(equals + 1, brace - equals - 1));
  return between.empty() ? text.substr(brace) : text;
}

// The section of a larger file that holds the config; `notes` gets what else is in the file.
YAML::Node QuantizationSection(const YAML::Node& root, Conversion& conversion) {
  for (const char* name : {"QAT", "QuantAware", "QuantPost", "PTQ", "quant_config"}) {
    const YAML::Node section = root[name];
    if (!section.IsDefined() || !section.IsMap()) continue;
    for (const auto& item : root) {
      const std::string key = item.first.Scalar();
      if (key != name && key != "slim") conversion.Note(key, "left out, it is not about quantization");
    }
    return QuantizationSection(section, conversion);
  }
  return root;
}

}  // namespace

absl::StatusOr<ConvertedConfig> ConvertPaddleSlim(absl::string_view text) {
  Conversion conversion;
  try {
    const YAML::Node root = YAML::Load(std::string(WithoutAssignment(text)));
    if (!root.IsMap()) {
      return absl::InvalidArgumentError("PaddleSlim's config must be a mapping of keys, like {'weight_bits': 8}");
    }
    for (const auto& item : QuantizationSection(root, conversion)) {
      PACTORY_RETURN_IF_ERROR(conversion.Take(item.first.Scalar(), item.second));
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("PaddleSlim's config must be YAML, JSON or a Python dict: ", error.what()));
  }
  return conversion.Finish();
}

}  // namespace pactory
