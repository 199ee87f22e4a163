// pactory-server: the command line. What each subcommand does is in server/commands/.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "base/logging.h"
#include "server/commands/doctor_command.h"
#include "server/commands/gc_command.h"
#include "server/commands/migrate_command.h"
#include "server/commands/retention_flags.h"
#include "server/commands/serve_command.h"
#include "server/commands/tenant_command.h"
#include "server/commands/token_command.h"
#include "base/version.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kUnreachable = 3;

struct CommonOptions {
  std::string database_url;
  std::string log_level = "info";
  std::string log_format = "text";
};

struct ServeOptions {
  pactory::ServeCommand command;
  double lease_seconds = 30;
  double heartbeat_seconds = 10;
  double reaper_seconds = 5;
  double retry_seconds = 10;
  double sweep_seconds = 300;
  double preempt_minutes = 0;
  pactory::RetentionFlags retention;
  bool insecure_public = false;
  bool http_public = false;
  bool migrate = false;
};

struct TenantFlags {
  std::string name;
  int weight = 0;
  int64_t max_running = pactory::kNoLimit;
  int64_t max_queued = pactory::kNoLimit;
  bool unlimited_running = false;
  bool unlimited_queued = false;
};

struct TokenOptions {
  std::string tenant = "default";
  std::string kind;
  std::string name;
  std::string id;
  bool create_tenant = false;
};

void AddCommonOptions(CLI::App* app, CommonOptions& options) {
  app->add_option("--database-url", options.database_url,
                  "PostgreSQL, like postgresql://user:password@host:5432/pactory")
      ->envname("PACTORY_DATABASE_URL")
      ->required();
  app->add_option("--log-level", options.log_level, "trace, debug, info, warning, error or off")
      ->envname("PACTORY_LOG_LEVEL")
      ->capture_default_str();
  app->add_option("--log-format", options.log_format, "text for people, json for machines; both to standard error")
      ->check(CLI::IsMember({"text", "json"}))
      ->envname("PACTORY_LOG_FORMAT")
      ->capture_default_str();
}

void AddOutputOption(CLI::App* app, std::string& output) {
  app->add_option("--output", output, "text for people, json for machines")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

pactory::ReportFormat FormatOf(const std::string& output) {
  return output == "json" ? pactory::ReportFormat::kJson : pactory::ReportFormat::kText;
}

CLI::App* AddTenantSet(CLI::App& tenant, CommonOptions& common, TenantFlags& flags) {
  CLI::App* set = tenant.add_subcommand("set", "Change a tenant's weight or limits");
  set->footer("Example:\n  pactory-server tenant set research --weight 3 --max-running 8");
  AddCommonOptions(set, common);
  set->add_option("tenant", flags.name, "Name of the tenant")->required();
  set->add_option("--weight", flags.weight, "Its share of the workers against the other tenants that wait")
      ->check(CLI::Range(1, 1000));
  CLI::Option* running = set->add_option("--max-running", flags.max_running, "Jobs that may run at a time; 0 holds all back")
                             ->check(CLI::NonNegativeNumber);
  CLI::Option* queued = set->add_option("--max-queued", flags.max_queued, "Jobs that may wait; more are refused")
                            ->check(CLI::NonNegativeNumber);
  set->add_flag("--no-max-running", flags.unlimited_running, "Any number may run")->excludes(running);
  set->add_flag("--no-max-queued", flags.unlimited_queued, "Any number may wait")->excludes(queued);
  return set;
}

absl::Status SetTenant(const std::string& database_url, const TenantFlags& flags) {
  pactory::TenantChange change = {.name = flags.name};
  if (flags.weight > 0) change.weight = flags.weight;
  if (flags.max_running >= 0 || flags.unlimited_running) change.max_running = flags.max_running;
  if (flags.max_queued >= 0 || flags.unlimited_queued) change.max_queued = flags.max_queued;
  return pactory::ChangeTenant(database_url, change);
}

CLI::App* AddServe(CLI::App& app, CommonOptions& common, ServeOptions& options) {
  CLI::App* serve = app.add_subcommand("serve", "Serve gRPC and the HTTP pages until SIGTERM");
  serve->footer(
      "Example:\n  pactory-server serve --database-url postgresql:///pactory --migrate\n"
      "Health: /healthz, /readyz; numbers: /metrics, /status; a page for people: / (all on --http-listen, without a "
      "token).");
  AddCommonOptions(serve, common);
  pactory::ServerOptions& server = options.command.server;
  serve->add_option("--listen", server.listen, "Address of gRPC; port 0 takes a free one")
      ->envname("PACTORY_LISTEN")
      ->capture_default_str();
  serve->add_option("--http-listen", server.http_listen, "Address of the HTTP pages, which show every tenant's jobs")
      ->envname("PACTORY_HTTP_LISTEN")
      ->capture_default_str();
  serve
      ->add_option("--tls-cert", server.tls_cert_file,
                   "PEM file with the server's certificate chain; read again when it changes")
      ->envname("PACTORY_TLS_CERT");
  serve->add_option("--tls-key", server.tls_key_file, "PEM file with its key")->envname("PACTORY_TLS_KEY");
  serve
      ->add_flag("--insecure-public", options.insecure_public,
                 "Allow a --listen that other machines reach without TLS: tokens can then be read on the network")
      ->envname("PACTORY_INSECURE_PUBLIC");
  serve
      ->add_flag("--http-public", options.http_public,
                 "Allow an --http-listen that other machines reach: for probes and Prometheus in a closed network")
      ->envname("PACTORY_HTTP_PUBLIC");
  serve->add_option("--lease-seconds", options.lease_seconds, "How long a job stays with a worker that is not heard of")
      ->envname("PACTORY_LEASE_SECONDS")
      ->check(CLI::Range(0.2, 3600.0))
      ->capture_default_str();
  serve
      ->add_option("--heartbeat-seconds", options.heartbeat_seconds,
                   "How often workers are told to call; at most a third of the lease")
      ->envname("PACTORY_HEARTBEAT_SECONDS")
      ->check(CLI::Range(0.05, 1800.0))
      ->capture_default_str();
  serve->add_option("--reaper-seconds", options.reaper_seconds, "How often lost workers are looked for")
      ->envname("PACTORY_REAPER_SECONDS")
      ->check(CLI::Range(0.05, 600.0))
      ->capture_default_str();
  serve
      ->add_option("--retry-seconds", options.retry_seconds,
                   "Pause before a failed attempt is followed by another; doubles each time")
      ->envname("PACTORY_RETRY_SECONDS")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str();
  serve
      ->add_option("--preempt-after-minutes", options.preempt_minutes,
                   "How long a job waits while less urgent ones of its tenant run, before one of those goes back to the "
                   "queue with its checkpoint; 0: for ever")
      ->envname("PACTORY_PREEMPT_AFTER_MINUTES")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  serve->add_option("--sweep-seconds", options.sweep_seconds, "How often what is kept no longer is removed")
      ->envname("PACTORY_SWEEP_SECONDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  pactory::AddRetentionFlags(serve, options.retention);
  serve->add_option("--database-threads", server.database_threads, "Threads (and connections) for database work")
      ->envname("PACTORY_DATABASE_THREADS")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  serve->add_option("--max-blob-bytes", server.max_blob_bytes, "Largest upload")
      ->envname("PACTORY_MAX_BLOB_BYTES")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  serve->add_flag("--migrate", options.migrate, "Bring the database's schema up to date first")
      ->envname("PACTORY_MIGRATE");
  serve->add_option("--ready-file", options.command.ready_file,
                    "File that gets {\"grpc\":\"host:port\",\"http\":\"host:port\"} once calls are taken");
  return serve;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "pactory-server: %s\n", std::string(status.message()).c_str());
  if (absl::IsInvalidArgument(status)) return kUsage;
  return absl::IsUnavailable(status) ? kUnreachable : kFailed;
}

absl::Status Serve(ServeOptions& options) {
  pactory::ServerOptions& server = options.command.server;
  if (options.heartbeat_seconds > options.lease_seconds / 3) {
    return absl::InvalidArgumentError(
        "--heartbeat-seconds must be at most a third of --lease-seconds: a lost heartbeat and a late one must not cost the lease");
  }
  server.lease_term = absl::Seconds(options.lease_seconds);
  server.heartbeat_interval = absl::Seconds(options.heartbeat_seconds);
  server.reap_every = absl::Seconds(options.reaper_seconds);
  server.retry_wait = absl::Seconds(options.retry_seconds);
  server.sweep_every = absl::Seconds(options.sweep_seconds);
  if (options.preempt_minutes > 0) server.preempt_after = absl::Minutes(options.preempt_minutes);
  server.retention = SettingsOf(options.retention);
  if (options.insecure_public) server.exposure = pactory::ServerOptions::Exposure::kPublicWithoutTls;
  if (options.http_public) server.http_exposure = pactory::ServerOptions::Exposure::kPublicWithoutTls;
  if (options.migrate) options.command.schema = pactory::ServeCommand::Schema::kMigrate;
  return pactory::RunServe(options.command);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Pactory's server: takes quantization jobs over gRPC, keeps them in PostgreSQL, hands them to workers.");
  app.set_version_flag("--version", pactory::kVersion);
  app.set_config("--config", "", "TOML or INI file with the options below, in a section per subcommand")
      ->envname("PACTORY_SERVER_CONFIG");
  app.require_subcommand(1);
  app.footer(
      "Every option can also come from the environment (PACTORY_DATABASE_URL and so on, see each --help) or from "
      "--config.\n"
      "Exit codes: 0 done, 1 failed, 2 usage, 3 the database or an address can't be reached.");

  CommonOptions common;
  ServeOptions serve_options;
  CLI::App* serve = AddServe(app, common, serve_options);

  int down_to = -1;
  CLI::App* migrate = app.add_subcommand("migrate", "Bring the database's schema up to date");
  AddCommonOptions(migrate, common);
  migrate
      ->add_option("--down-to", down_to,
                   "Go back to this version instead; what newer versions added is dropped with its data")
      ->check(CLI::NonNegativeNumber);

  std::string output = "text";
  CLI::App* doctor = app.add_subcommand("doctor", "Look the database over for what needs a person");
  doctor->footer(
      "Checks the schema, leases, jobs, the queue, unused files, bloat, old transactions and connections. Exit code 0: "
      "well, or warnings only; 1: a problem; 3: the database does not answer. docs/operations.md says what to do.");
  AddCommonOptions(doctor, common);
  AddOutputOption(doctor, output);

  pactory::RetentionFlags retention;
  CLI::App* gc = app.add_subcommand("gc", "Remove once what is kept no longer; a running server does so by itself");
  AddCommonOptions(gc, common);
  pactory::AddRetentionFlags(gc, retention);
  AddOutputOption(gc, output);

  CLI::App* tenant = app.add_subcommand("tenant", "List the tenants; change their shares and limits");
  tenant->require_subcommand(1);
  CLI::App* tenants = tenant->add_subcommand("list", "Print every tenant with its share, limits and jobs");
  AddCommonOptions(tenants, common);
  AddOutputOption(tenants, output);
  TenantFlags tenant_flags;
  CLI::App* set_tenant = AddTenantSet(*tenant, common, tenant_flags);

  TokenOptions token_options;
  CLI::App* token = app.add_subcommand("token", "Make, list and revoke API tokens");
  token->require_subcommand(1);
  CLI::App* create = token->add_subcommand("create", "Make a token and print it; it can't be shown again");
  create->footer("Example:\n  pactory-server token create --tenant default --kind user --name alice");
  AddCommonOptions(create, common);
  create
      ->add_option("--tenant", token_options.tenant,
                   "Whose models and jobs a user's token is for; workers serve all tenants")
      ->capture_default_str();
  create->add_option("--kind", token_options.kind, "user: for people and pipelines; worker: for agents")
      ->required()
      ->check(CLI::IsMember({"user", "worker"}));
  create->add_option("--name", token_options.name, "Shown in lists and logs");
  create->add_flag("--create-tenant", token_options.create_tenant, "Make the tenant where it does not exist");
  CLI::App* list = token->add_subcommand("list", "Print every token, without its secret");
  AddCommonOptions(list, common);
  CLI::App* revoke = token->add_subcommand("revoke", "Make a token worthless, within five seconds");
  AddCommonOptions(revoke, common);
  revoke->add_option("id", token_options.id, "The token's id, from `token list`")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }

  const absl::Status logging = pactory::InitLogging(
      {.program = "pactory-server",
       .level = common.log_level,
       .format = common.log_format == "json" ? pactory::LogFormat::kJson : pactory::LogFormat::kText});
  if (!logging.ok()) return ExitCodeOf(logging);
  if (serve->parsed()) {
    serve_options.command.server.database_url = common.database_url;
    return ExitCodeOf(Serve(serve_options));
  }
  if (migrate->parsed()) {
    return ExitCodeOf(down_to >= 0 ? pactory::MigrateTo(common.database_url, down_to)
                                   : pactory::MigrateUp(common.database_url));
  }
  if (doctor->parsed()) return ExitCodeOf(pactory::RunDoctor(common.database_url, FormatOf(output)));
  if (gc->parsed()) {
    return ExitCodeOf(pactory::RunGc(common.database_url, SettingsOf(retention), FormatOf(output)));
  }
  if (tenants->parsed()) return ExitCodeOf(pactory::ListTenants(common.database_url, FormatOf(output)));
  if (set_tenant->parsed()) return ExitCodeOf(SetTenant(common.database_url, tenant_flags));
  if (create->parsed()) {
    const auto kind = token_options.kind == "worker" ? pactory::TokenKind::kWorker : pactory::TokenKind::kUser;
    const auto missing =
        token_options.create_tenant ? pactory::MissingTenant::kCreate : pactory::MissingTenant::kRefuse;
    return ExitCodeOf(pactory::CreateToken(
        common.database_url, {.kind = kind, .tenant = token_options.tenant, .name = token_options.name}, missing));
  }
  if (list->parsed()) return ExitCodeOf(pactory::ListTokens(common.database_url));
  return ExitCodeOf(pactory::RevokeToken(common.database_url, token_options.id));
}
