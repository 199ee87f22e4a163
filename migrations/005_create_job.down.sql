DROP TABLE job_lease;
DROP TABLE job_ready;
DROP TABLE job;
DROP TYPE job_state;
