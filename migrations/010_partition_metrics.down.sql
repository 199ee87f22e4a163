CREATE TABLE job_metric_whole (
  job_id uuid NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  fence bigint NOT NULL,
  batch bigint NOT NULL,
  name text NOT NULL,
  step bigint NOT NULL,
  value double precision NOT NULL,
  time timestamptz NOT NULL,
  CONSTRAINT job_metric_whole_pkey PRIMARY KEY (job_id, sequence)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
INSERT INTO job_metric_whole (job_id, sequence, fence, batch, name, step, value, time) OVERRIDING SYSTEM VALUE
SELECT job_id, sequence, fence, batch, name, step, value, time FROM job_metric WHERE job_id IN (SELECT id FROM job);
SELECT setval(pg_get_serial_sequence('job_metric_whole', 'sequence'), greatest((SELECT max(sequence) FROM job_metric), 1));
DROP TABLE job_metric;
DROP FUNCTION make_metric_days(date, date);
ALTER TABLE job_metric_whole RENAME TO job_metric;
ALTER TABLE job_metric RENAME CONSTRAINT job_metric_whole_pkey TO job_metric_pkey;
