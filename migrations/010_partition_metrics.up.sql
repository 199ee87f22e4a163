-- A table per day of job_metric, so that what is kept no longer is dropped without a trace in the others.
ALTER TABLE job_metric RENAME TO job_metric_old;
ALTER TABLE job_metric_old RENAME CONSTRAINT job_metric_pkey TO job_metric_old_pkey;

CREATE SEQUENCE job_metric_number;

-- Append-only. Sequence numbers of one job appear in order: each writer holds the job's lease row. Without a reference to
-- job, whose rows a drop would have to lock: the sweep removes the metrics of the jobs that it removes.
CREATE TABLE job_metric (
  job_id uuid NOT NULL,
  sequence bigint NOT NULL DEFAULT nextval('job_metric_number'),
  -- When it was stored, in UTC.
  day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
  fence bigint NOT NULL,
  batch bigint NOT NULL,
  name text NOT NULL,
  step bigint NOT NULL,
  value double precision NOT NULL,
  time timestamptz NOT NULL,
  PRIMARY KEY (job_id, sequence, day)
) PARTITION BY RANGE (day);
ALTER SEQUENCE job_metric_number OWNED BY job_metric.sequence;

-- Makes the tables of some days. Attached, not created in place, which would lock all of job_metric.
CREATE FUNCTION make_metric_days(first_day date, last_day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  made date;
  name text;
BEGIN
  -- Of two servers at it, one waits.
  PERFORM pg_advisory_xact_lock(hashtext('make_metric_days'));
  FOR made IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
    name := 'job_metric_' || to_char(made, 'YYYYMMDD');
    CONTINUE WHEN to_regclass(name) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I (LIKE job_metric INCLUDING DEFAULTS) WITH (autovacuum_vacuum_insert_scale_factor = 0.05)', name);
    EXECUTE format('ALTER TABLE job_metric ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, made, made + 1);
  END LOOP;
END
$$;

SELECT make_metric_days((now() AT TIME ZONE 'utc')::date, (now() AT TIME ZONE 'utc')::date + 7);

-- Times came from the workers' clocks, which may be anything: a metric is as old as its job at most, and not of tomorrow.
CREATE TEMPORARY TABLE stored ON COMMIT DROP AS
SELECT m.*, (greatest(least(m.time, now()), j.create_time) AT TIME ZONE 'utc')::date AS day
FROM job_metric_old m JOIN job j ON j.id = m.job_id;
SELECT make_metric_days(day, day) FROM (SELECT DISTINCT day FROM stored) AS days;
INSERT INTO job_metric (job_id, sequence, day, fence, batch, name, step, value, time)
SELECT job_id, sequence, day, fence, batch, name, step, value, time FROM stored;
SELECT setval('job_metric_number', greatest((SELECT max(sequence) FROM job_metric), 1));
DROP TABLE job_metric_old;
