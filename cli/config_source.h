// The config of a job from the command line: a preset or a file, with single fields set on top. Used by `run`, `jobs
// submit` and `config`.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// What the flags say.
struct ConfigSource {
  std::string preset;
  std::string file;
  /// `path=value` each, in order.
  std::vector<std::string> settings;
};

/// Returns a config file's content; NOT_FOUND names the path.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

/// Adds --preset, --config and --set.
void AddConfigFlags(CLI::App& command, ConfigSource& source);

/// Returns the config, checked with its defaults but without them filled in: the server fills in what fits the data.
/// INVALID_ARGUMENT names the file and the field.
absl::StatusOr<v1::QuantizationConfig> ReadConfig(const ConfigSource& source);

}  // namespace pactory
