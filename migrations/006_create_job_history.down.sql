DROP TABLE artifact;
DROP TABLE job_metric;
DROP TABLE job_event;
