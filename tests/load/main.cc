// queue_load: clients and workers of the queue by the dozen, without training. For tests/chaos, tests/e2e and benchmarks/queue.
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "tests/load/commands.h"

namespace pactory {
namespace {

void AddTarget(CLI::App& app, LoadTarget& target) {
  app.add_option("--server", target.server)->required();
  app.add_option("--user-token", target.user_token)->envname("PACTORY_TOKEN");
  app.add_option("--worker-token", target.worker_token)->envname("PACTORY_WORKER_TOKEN");
  app.add_option("--model", target.model, "models/ID");
  app.add_option("--data", target.data, "datasets/ID");
  app.add_option("--eval-data", target.eval_data, "datasets/ID");
  app.add_option("--seed", target.training_seed, "training.seed of the jobs");
}

int Main(int argc, char** argv) {
  CLI::App app("Clients and workers of the queue, for tests and benchmarks; prints JSON.");
  app.require_subcommand(1);
  LoadTarget target;
  AddTarget(app, target);
  std::function<absl::Status()> run;
  int clients = 32, rounds = 100, submitters = 4, workers = 4, jobs = 200;
  double interval = 10, seconds = 30;
  ClientHabits habits;

  CLI::App* race = app.add_subcommand("race", "Clients race one request id, round after round");
  race->add_option("--clients", clients)->capture_default_str();
  race->add_option("--rounds", rounds)->capture_default_str();
  race->callback([&] { run = [&] { return RunRace(target, clients, rounds); }; });
  CLI::App* lives = app.add_subcommand("lives", "Whole lives of jobs a second");
  lives->add_option("--submitters", submitters)->capture_default_str();
  lives->add_option("--workers", workers)->capture_default_str();
  lives->add_option("--jobs", jobs)->capture_default_str();
  lives->callback([&] { run = [&] { return RunLives(target, submitters, workers, jobs); }; });
  CLI::App* starts = app.add_subcommand("starts", "Time from submit to start with an idle worker");
  starts->add_option("--jobs", jobs)->capture_default_str();
  starts->callback([&] { run = [&] { return RunStarts(target, jobs); }; });
  CLI::App* claims = app.add_subcommand("claims", "Time of a lease from the queue as it stands");
  claims->add_option("--jobs", jobs)->capture_default_str();
  claims->callback([&] { run = [&] { return RunClaims(target, jobs); }; });
  CLI::App* beats = app.add_subcommand("heartbeats", "Heartbeats of many workers; prints `ready` when they begin");
  beats->add_option("--workers", workers)->capture_default_str();
  beats->add_option("--interval", interval, "Seconds between those of a worker")->capture_default_str();
  beats->add_option("--seconds", seconds)->capture_default_str();
  beats->callback(
      [&] { run = [&] { return RunHeartbeats(target, workers, absl::Seconds(interval), absl::Seconds(seconds)); }; });
  CLI::App* submits = app.add_subcommand("clients", "Submit, repeat and cancel until SIGTERM");
  submits->add_option("--clients", habits.clients)->capture_default_str();
  submits->add_option("--rate", habits.rate, "Jobs a second")->capture_default_str();
  submits->add_option("--acknowledgements", habits.acknowledgements, "File for what was told")->required();
  submits->callback([&] { run = [&] { return RunClients(target, habits); }; });
  CLI11_PARSE(app, argc, argv);

  const absl::Status status = run();
  if (status.ok()) return 0;
  std::cerr << "queue_load: " << status << "\n";
  return 1;
}

}  // namespace
}  // namespace pactory

int main(int argc, char** argv) { return pactory::Main(argc, argv); }
