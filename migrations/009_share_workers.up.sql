-- What a job needs: any worker, one with a GPU, or one without.
CREATE TYPE worker_kind AS ENUM ('ANY', 'CPU', 'GPU');

ALTER TABLE tenant
  ADD COLUMN weight integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
  -- Null: no limit.
  ADD COLUMN max_running integer CHECK (max_running >= 0),
  ADD COLUMN max_queued integer CHECK (max_queued >= 0);

-- Hot: what a tenant had of the workers. A row appears with the tenant's first job.
CREATE TABLE tenant_share (
  tenant_id uuid PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
  -- Virtual time: slot seconds by weight. The tenant that is least far comes next.
  pass double precision NOT NULL DEFAULT 0,
  -- The tenant's rows in job_lease.
  running integer NOT NULL DEFAULT 0,
  -- Moving mean of an attempt's length: what a start is charged until its own length is known.
  mean_seconds double precision NOT NULL DEFAULT 60
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0);

ALTER TABLE job
  ADD COLUMN worker_kind worker_kind NOT NULL DEFAULT 'ANY',
  ADD COLUMN memory_gib integer NOT NULL DEFAULT 0;

-- A line: the jobs of one tenant with equal needs. A claim looks at the first job of each line only, so that its time does
-- not depend on how many wait; memory_gib is a power of two, which keeps the lines few.
ALTER TABLE job_ready
  ADD COLUMN worker_kind worker_kind NOT NULL DEFAULT 'ANY',
  ADD COLUMN memory_gib integer NOT NULL DEFAULT 0;
DROP INDEX job_ready_order;
CREATE INDEX job_ready_line ON job_ready (tenant_id, worker_kind, memory_gib, priority, create_time, job_id);

ALTER TABLE job_lease
  ADD COLUMN memory_gib integer NOT NULL DEFAULT 0,
  -- Slot seconds that the tenant was charged at the start.
  ADD COLUMN charged double precision NOT NULL DEFAULT 0,
  -- The worker is asked to give the job back: one of a higher priority waits. In no index.
  ADD COLUMN preempted boolean NOT NULL DEFAULT false;
CREATE INDEX job_lease_worker ON job_lease (worker_id);

ALTER TABLE worker
  ADD COLUMN gpu boolean NOT NULL DEFAULT false,
  -- What its jobs may ask for together; 0: jobs that ask for memory are not for it.
  ADD COLUMN job_memory_gib integer NOT NULL DEFAULT 0,
  ADD COLUMN slots integer NOT NULL DEFAULT 1;

INSERT INTO tenant_share (tenant_id, running) SELECT tenant_id, count(*) FROM job_lease GROUP BY tenant_id;
