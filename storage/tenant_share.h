// How tenants share the workers: whoever had least slot time by its weight comes next (stride scheduling, Waldspurger 1995). A
// start is charged the tenant's mean length, and the attempt's end corrects the charge to what it took. A start locks its tenant's
// row of tenant_share until it is on disk; an end only leaves a row of share_settlement, which the tenant's next start takes along.
// The view tenant_standing has both together. Only for .cc files of storage/. Stateless.
#pragma once

namespace pactory {

/// SQL, CTEs for the statement that queues a job of tenant $1 by a CTE `made`: a tenant that comes back from a pause starts
/// level with the one that is least far, so that nobody saves up slot time. Changes nothing for a tenant that waits or runs.
inline constexpr char kJoinTheLine[] = R"sql(back AS MATERIALIZED (
  SELECT made.tenant_id, pass_to_start_level(made.tenant_id) AS pass FROM made
  WHERE NOT EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = $1::uuid)
), joined AS (
  INSERT INTO tenant_share (tenant_id, pass) SELECT tenant_id, pass FROM back WHERE pass IS NOT NULL
  ON CONFLICT (tenant_id) DO UPDATE SET pass = greatest(tenant_share.pass, excluded.pass)
))sql";

/// SQL, CTEs after a CTE `first` (tenant_id, charged) of at most one row: settles the tenant's ends and charges the start.
/// `granted` (tenant_id) is empty where the tenant's running jobs reached its limit meanwhile, as the row's lock makes certain;
/// such a start is settled as one that took what it was charged.
inline constexpr char kChargeTheStart[] = R"sql(due AS (
  DELETE FROM share_settlement WHERE tenant_id = (SELECT tenant_id FROM first) RETURNING charged, seconds
), share AS (
  INSERT INTO tenant_share (tenant_id, pass, running, mean_seconds)
  SELECT first.tenant_id, (first.charged + settled.correction) / tenant.weight, 1 - settled.ended, settled.mean_seconds
  FROM first JOIN tenant ON tenant.id = first.tenant_id CROSS JOIN (
    SELECT count(*)::integer AS ended, coalesce(sum(seconds - charged), 0) AS correction,
      coalesce(avg(seconds), 60) AS mean_seconds FROM due) settled
  ON CONFLICT (tenant_id) DO UPDATE SET pass = tenant_share.pass + excluded.pass,
    running = tenant_share.running + excluded.running,
    mean_seconds = excluded.mean_seconds
      + (tenant_share.mean_seconds - excluded.mean_seconds) * power(0.9, 1 - excluded.running)
  RETURNING tenant_id, running
), granted AS MATERIALIZED (
  SELECT share.tenant_id FROM share JOIN tenant ON tenant.id = share.tenant_id
  WHERE tenant.max_running IS NULL OR share.running <= tenant.max_running
), refused AS (
  INSERT INTO share_settlement (tenant_id, charged, seconds)
  SELECT first.tenant_id, first.charged, first.charged FROM first JOIN share ON share.tenant_id = first.tenant_id
  WHERE NOT EXISTS (SELECT 1 FROM granted)
))sql";

/// SQL, a CTE after a CTE `ended` (tenant_id, charged, ran): leaves the slot seconds that an attempt took for its charge to be
/// corrected by. A start costs something by itself: jobs shorter than a second count as one.
inline constexpr char kSettleTheEnd[] = R"sql(settled AS (
  INSERT INTO share_settlement (tenant_id, charged, seconds) SELECT tenant_id, charged, greatest(ran, 1) FROM ended
))sql";

}  // namespace pactory
