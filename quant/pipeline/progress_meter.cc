#include "quant/pipeline/progress_meter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

constexpr std::chrono::milliseconds kSendInterval(250);
// Below this share of a stage its own guess is better than what was measured of it.
constexpr double kTellingShare = 0.05;

}  // namespace

ProgressMeter::ProgressMeter(JobListener& listener) : listener_(listener) { progress_.set_metric(-1); }

void ProgressMeter::Plan(absl::string_view stage, double seconds) { stages_.push_back({std::string(stage), seconds}); }

void ProgressMeter::Estimate(absl::string_view stage, double seconds) {
  for (size_t i = present_; i < stages_.size(); ++i) {
    if (stages_[i].name == stage) stages_[i].seconds = seconds;
  }
}

double ProgressMeter::StageSeconds() const {
  return std::chrono::duration<double>(Clock::now() - stage_start_).count();
}

void ProgressMeter::EndStage() {
  if (!started_) return;
  const double seconds = StageSeconds();
  elapsed_ += seconds;
  timing_.emplace_back(stages_[present_].name, seconds);
  ++present_;
}

absl::Status ProgressMeter::Start(absl::string_view stage) {
  EndStage();
  // Stages that a job leaves out are skipped.
  while (present_ < stages_.size() && stages_[present_].name != stage) ++present_;
  if (present_ == stages_.size()) stages_.push_back({std::string(stage), 0});
  started_ = true;
  share_ = 0;
  stage_start_ = Clock::now();
  progress_.set_stage(std::string(stage));
  progress_.set_step(0);
  progress_.set_total_steps(0);
  Send();
  if (listener_.StopRequested()) return absl::CancelledError(absl::StrCat("ended on request before ", stage));
  return absl::OkStatus();
}

void ProgressMeter::Show(double share) {
  share_ = std::clamp(share, 0.0, 1.0);
  if (Clock::now() - last_sent_ >= kSendInterval) Send();
}

absl::Status ProgressMeter::CheckStop() const {
  if (listener_.StopRequested()) return absl::CancelledError(absl::StrCat("ended on request during ", progress_.stage()));
  return absl::OkStatus();
}

absl::Status ProgressMeter::Advance(double share) {
  Show(share);
  return CheckStop();
}

void ProgressMeter::Finish() {
  EndStage();
  started_ = false;
  progress_.set_stage("done");
  progress_.set_fraction(1);
  progress_.set_eta_seconds(0);
  listener_.OnProgress(progress_);
}

void ProgressMeter::Send() {
  last_sent_ = Clock::now();
  const double spent = StageSeconds();
  double left = share_ >= kTellingShare ? spent / share_ * (1 - share_)
                                        : std::max(0.0, stages_[present_].seconds - spent);
  for (size_t i = present_ + 1; i < stages_.size(); ++i) left += stages_[i].seconds;
  const double total = elapsed_ + spent + left;
  // Never backwards, although the estimates may grow.
  progress_.set_fraction(std::max(progress_.fraction(), total > 0 ? std::min(0.999, (elapsed_ + spent) / total) : 0));
  progress_.set_eta_seconds(left);
  listener_.OnProgress(progress_);
}

}  // namespace pactory::quant
