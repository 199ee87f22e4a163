#include "quant/pipeline/metric_batch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

constexpr std::chrono::seconds kFlushInterval(1);
constexpr int64_t kDetailPoints = 50;
// Of one message, as the service takes them.
constexpr size_t kMaxMetrics = 1000;

}  // namespace

MetricBatch::MetricBatch(JobListener& listener, absl::string_view prefix, int64_t steps)
    : listener_(listener), prefix_(prefix), steps_(steps), last_(std::chrono::steady_clock::now()) {}

bool MetricBatch::TellsDetails(int64_t step) const {
  return step == steps_ || step % std::max<int64_t>(1, steps_ / kDetailPoints) == 0;
}

void MetricBatch::Add(absl::string_view name, int64_t step, double value) {
  v1::Metric metric;
  metric.set_name(absl::StrCat(prefix_, name));
  metric.set_step(step);
  metric.set_value(value);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  metric.mutable_time()->set_seconds(seconds.count());
  metric.mutable_time()->set_nanos(
      static_cast<int32_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds).count()));
  metrics_.push_back(std::move(metric));
  if (metrics_.size() >= kMaxMetrics) Flush();
}

void MetricBatch::FlushSometimes() {
  if (std::chrono::steady_clock::now() - last_ >= kFlushInterval) Flush();
}

void MetricBatch::Flush() {
  last_ = std::chrono::steady_clock::now();
  if (metrics_.empty()) return;
  listener_.OnMetrics(metrics_);
  metrics_.clear();
}

}  // namespace pactory::quant
