-- Ends of attempts that tenant_share does not hold yet. An end adds a row here and locks nothing; the tenant's next start takes the
-- rows along into tenant_share, whose row it locks anyway. Refers to no tenant, for such a reference would lock the tenant's row.
CREATE TABLE share_settlement (
  tenant_id uuid NOT NULL,
  -- Slot seconds that the start was charged, and those that the attempt took.
  charged double precision NOT NULL,
  seconds double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX share_settlement_tenant ON share_settlement (tenant_id);

-- What a tenant had of the workers, settled.
CREATE VIEW tenant_standing AS
SELECT t.id AS tenant_id, t.weight, t.max_running,
  coalesce(s.pass, 0) + due.correction / t.weight AS pass,
  -- The part of pass that tenant_share does not hold yet.
  due.correction / t.weight AS unsettled,
  coalesce(s.running, 0) - due.ended AS running,
  due.mean_seconds + (coalesce(s.mean_seconds, 60) - due.mean_seconds) * power(0.9, due.ended) AS mean_seconds
FROM tenant t LEFT JOIN tenant_share s ON s.tenant_id = t.id CROSS JOIN LATERAL (
  SELECT count(*)::integer AS ended, coalesce(sum(e.seconds - e.charged), 0) AS correction,
    coalesce(avg(e.seconds), 0) AS mean_seconds
  FROM share_settlement e WHERE e.tenant_id = t.id) due;

-- What a tenant's pass in tenant_share must be at least when a job of its joins the queue and none waits: that of the tenant that
-- is least far. Null for a tenant with running jobs, which has not paused.
CREATE FUNCTION pass_to_start_level(back uuid) RETURNS double precision LANGUAGE plpgsql STABLE AS $$
DECLARE
  own tenant_standing;
BEGIN
  SELECT * INTO own FROM tenant_standing WHERE tenant_id = back;
  IF own.running > 0 THEN
    RETURN NULL;
  END IF;
  RETURN coalesce(
    (SELECT min(s.pass) FROM tenant_standing s WHERE s.tenant_id <> back
      AND (s.running > 0 OR EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = s.tenant_id))),
    (SELECT max(s.pass) FROM tenant_standing s)) - own.unsettled;
END $$;
