-- The names of pactory.v1.Job.State:
--   PENDING -> RUNNING -> SUCCEEDED | FAILED
--   PENDING -> CANCELLED
--   RUNNING -> CANCELLING -> CANCELLED | SUCCEEDED | FAILED
--   RUNNING -> PENDING   (the worker was lost or gave the job back)
CREATE TYPE job_state AS ENUM ('PENDING', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED');

-- Cold: changes a few times in a job's life. What changes every few seconds is in job_lease.
CREATE TABLE job (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  state job_state NOT NULL DEFAULT 'PENDING',
  tenant_id uuid NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  display_name text NOT NULL,
  -- pactory.v1.JobSpec, complete.
  spec bytea NOT NULL,
  -- Null once the model or dataset of a finished job was deleted.
  model_id uuid REFERENCES model (id) ON DELETE SET NULL,
  train_dataset_id uuid REFERENCES dataset (id) ON DELETE SET NULL,
  eval_dataset_id uuid REFERENCES dataset (id) ON DELETE SET NULL,
  priority integer NOT NULL,
  attempt integer NOT NULL DEFAULT 0,
  -- Number of the newest lease. A write under an older one is refused.
  fence bigint NOT NULL DEFAULT 0,
  lost_attempts integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL CHECK (max_attempts BETWEEN 1 AND 20),
  deadline interval NOT NULL,
  error_reason text,
  error_message text,
  worker_id uuid REFERENCES worker (id) ON DELETE SET NULL,
  checkpoint_blob_id uuid REFERENCES blob (id),
  checkpoint_step bigint,
  -- pactory.v1.Progress as it was when the attempt ended.
  progress bytea,
  request_id uuid,
  request_sha256 text,
  create_time timestamptz NOT NULL DEFAULT now(),
  start_time timestamptz,
  cancel_time timestamptz,
  end_time timestamptz,
  UNIQUE (tenant_id, request_id),
  CONSTRAINT job_error_when_failed CHECK ((state = 'FAILED') = (error_reason IS NOT NULL)),
  CONSTRAINT job_end_time_when_final CHECK ((state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time IS NOT NULL))
);
CREATE INDEX job_newest ON job (tenant_id, create_time DESC, id DESC);
CREATE INDEX job_state_of_tenant ON job (state, tenant_id);
CREATE INDEX job_model ON job (model_id);
CREATE INDEX job_train_dataset ON job (train_dataset_id);
CREATE INDEX job_eval_dataset ON job (eval_dataset_id);
CREATE INDEX job_checkpoint ON job (checkpoint_blob_id) WHERE checkpoint_blob_id IS NOT NULL;

-- Hot: a row stands here only while its job is in the queue.
CREATE TABLE job_ready (
  job_id uuid PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
  tenant_id uuid NOT NULL,
  priority integer NOT NULL,
  -- The job's own, so that a job which lost its worker goes back to its old place.
  create_time timestamptz NOT NULL,
  ready_time timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
CREATE INDEX job_ready_order ON job_ready (priority, create_time, job_id);

-- Hot: a row stands here only while its job is leased. A heartbeat touches no indexed column.
CREATE TABLE job_lease (
  job_id uuid PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
  fence bigint NOT NULL,
  tenant_id uuid NOT NULL,
  worker_id uuid NOT NULL,
  lease_until timestamptz NOT NULL,
  deadline_time timestamptz NOT NULL,
  heartbeat_time timestamptz NOT NULL DEFAULT now(),
  -- Number of the newest metric batch stored under this lease.
  metric_batch bigint NOT NULL DEFAULT 0,
  -- pactory.v1.Progress.
  progress bytea
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
