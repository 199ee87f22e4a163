// The flags of how long things are kept, which `serve` and `gc` share. Used by main.
#pragma once

#include <CLI/CLI.hpp>

#include "storage/retention_store.h"

namespace pactory {

/// The flags' values; 0 days keep for ever.
struct RetentionFlags {
  double job_days = 0;
  double metric_days = 90;
  double event_days = 365;
  double unused_blob_hours = 24;
  double old_checkpoint_minutes = 10;
};

/// Adds the flags to a subcommand.
void AddRetentionFlags(CLI::App* app, RetentionFlags& flags);

/// Returns what the flags say.
RetentionSettings SettingsOf(const RetentionFlags& flags);

}  // namespace pactory
