UPDATE tenant_share s SET pass = v.pass, running = v.running, mean_seconds = v.mean_seconds
FROM tenant_standing v WHERE v.tenant_id = s.tenant_id;
DROP FUNCTION pass_to_start_level;
DROP VIEW tenant_standing;
DROP TABLE share_settlement;
