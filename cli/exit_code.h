// What the exit code of `pactory` means, and how an error becomes one. Stateless.
#pragma once

#include "absl/status/status.h"

namespace pactory {

/// Exit codes of every command.
enum class ExitCode {
  kDone = 0,
  /// The job FAILED or was CANCELLED, or something broke that is not the caller's fault.
  kJobFailed = 1,
  /// A flag, file, config or name is wrong, or the token is.
  kUsage = 2,
  /// The server can't be reached.
  kUnreachable = 3,
};

/// Returns the code for an error, kDone for OK.
inline ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kDone;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return ExitCode::kUsage;
    default:
      return ExitCode::kJobFailed;
  }
}

}  // namespace pactory
