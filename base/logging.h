// Set-up of spdlog, the log of every program. Call once, at the start of main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// How a log line looks.
enum class LogFormat { kText, kJson };

/// What a program logs, to standard error.
struct LogOptions {
  /// Program name, in every line.
  std::string program;
  /// `trace`, `debug`, `info`, `warning`, `error` or `off`.
  std::string level = "info";
  LogFormat format = LogFormat::kText;
};

/// Makes spdlog's default logger as asked; INVALID_ARGUMENT names an unknown level.
absl::Status InitLogging(const LogOptions& options);

}  // namespace pactory
