// How tenants share the workers: whoever had least slot time by its weight comes next (stride scheduling, Waldspurger 1995). A
// start is charged the tenant's mean length, and the attempt's end corrects the charge to what it took. Only for .cc files
// of storage/. Stateless.
#pragma once

namespace pactory {

/// SQL, a CTE for the statement that queues a job of tenant $1 by a CTE `made`: a tenant that comes back from a pause starts
/// level with the one that is least far, so that nobody saves up slot time. Changes nothing for a tenant that waits or runs.
inline constexpr char kJoinTheLine[] = R"sql(joined AS (
  INSERT INTO tenant_share (tenant_id, pass)
  SELECT $1::uuid, coalesce(
    (SELECT min(s.pass) FROM tenant_share s WHERE s.tenant_id <> $1::uuid
      AND (s.running > 0 OR EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = s.tenant_id))),
    (SELECT max(s.pass) FROM tenant_share s), 0)
  FROM made
  WHERE NOT EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = $1::uuid)
    AND NOT EXISTS (SELECT 1 FROM tenant_share s WHERE s.tenant_id = $1::uuid AND s.running > 0)
  ON CONFLICT (tenant_id) DO UPDATE SET pass = greatest(tenant_share.pass, excluded.pass)
))sql";

/// SQL, a CTE after a CTE `first` (tenant_id, charged) of at most one row: charges the start. Empty where the tenant's running
/// jobs reached its limit meanwhile, as the row's lock makes certain.
inline constexpr char kChargeTheStart[] = R"sql(share AS (
  INSERT INTO tenant_share (tenant_id, pass, running)
  SELECT first.tenant_id, first.charged / tenant.weight, 1 FROM first JOIN tenant ON tenant.id = first.tenant_id
  ON CONFLICT (tenant_id) DO UPDATE SET pass = tenant_share.pass + excluded.pass, running = tenant_share.running + 1
    WHERE tenant_share.running < coalesce(
      (SELECT max_running FROM tenant WHERE id = tenant_share.tenant_id), tenant_share.running + 1)
  RETURNING tenant_id
))sql";

/// SQL, a CTE after a CTE `ended` (tenant_id, charged, ran): corrects the charge of an attempt by the slot seconds that it took.
/// A start costs something by itself: jobs shorter than a second count as one.
inline constexpr char kSettleTheEnd[] = R"sql(settled AS (
  UPDATE tenant_share s SET running = s.running - 1,
    pass = s.pass + (greatest(ended.ran, 1) - ended.charged) / t.weight,
    mean_seconds = 0.9 * s.mean_seconds + 0.1 * greatest(ended.ran, 1)
  FROM ended JOIN tenant t ON t.id = ended.tenant_id WHERE s.tenant_id = ended.tenant_id
))sql";

}  // namespace pactory
