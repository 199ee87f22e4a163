#include "server/commands/retention_flags.h"

namespace pactory {
namespace {

constexpr double kMostDays = 36500;

absl::Duration DaysOf(double days) {
  return days > 0 ? absl::Hours(24) * days : absl::InfiniteDuration();
}

}  // namespace

void AddRetentionFlags(CLI::App* app, RetentionFlags& flags) {
  app->add_option("--keep-jobs-days", flags.job_days,
                  "Ended jobs with their artifacts are removed after so many days; 0 keeps them")
      ->envname("PACTORY_KEEP_JOBS_DAYS")
      ->check(CLI::Range(0.0, kMostDays))
      ->capture_default_str();
  app->add_option("--keep-metrics-days", flags.metric_days, "Metrics, in whole days after they were stored; 0 keeps them")
      ->envname("PACTORY_KEEP_METRICS_DAYS")
      ->check(CLI::Range(0.0, kMostDays))
      ->capture_default_str();
  app->add_option("--keep-events-days", flags.event_days, "A job's history, after its end; 0 keeps it")
      ->envname("PACTORY_KEEP_EVENTS_DAYS")
      ->check(CLI::Range(0.0, kMostDays))
      ->capture_default_str();
  app->add_option("--keep-unused-blobs-hours", flags.unused_blob_hours,
                  "Files that nothing refers to, after their last use; longer than any upload takes")
      ->envname("PACTORY_KEEP_UNUSED_BLOBS_HOURS")
      ->check(CLI::Range(1.0, kMostDays * 24))
      ->capture_default_str();
  app->add_option("--keep-old-checkpoints-minutes", flags.old_checkpoint_minutes,
                  "Checkpoints, after a newer one replaced them or their job ended")
      ->envname("PACTORY_KEEP_OLD_CHECKPOINTS_MINUTES")
      ->check(CLI::Range(0.1, kMostDays))
      ->capture_default_str();
}

RetentionSettings SettingsOf(const RetentionFlags& flags) {
  return {.jobs = DaysOf(flags.job_days),
          .metrics = DaysOf(flags.metric_days),
          .events = DaysOf(flags.event_days),
          .unused_blobs = absl::Hours(flags.unused_blob_hours),
          .old_checkpoints = absl::Minutes(flags.old_checkpoint_minutes)};
}

}  // namespace pactory
