// Early return on a non-OK absl::Status. Used everywhere.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PACTORY_CONCAT_INNER(a, b) a##b
#define PACTORY_CONCAT(a, b) PACTORY_CONCAT_INNER(a, b)

/// Returns from the calling function when `expression` is not OK.
#define PACTORY_RETURN_IF_ERROR(expression)                        \
  do {                                                             \
    if (absl::Status pactory_status = (expression); !pactory_status.ok()) return pactory_status; \
  } while (false)

/// Assigns the value of the StatusOr `expression` to `target`, or returns its status.
#define PACTORY_ASSIGN_OR_RETURN(target, expression) \
  PACTORY_ASSIGN_OR_RETURN_INNER(PACTORY_CONCAT(pactory_status_or_, __LINE__), target, expression)
#define PACTORY_ASSIGN_OR_RETURN_INNER(holder, target, expression) \
  auto holder = (expression);                                      \
  if (!holder.ok()) return std::move(holder).status();             \
  target = *std::move(holder)
