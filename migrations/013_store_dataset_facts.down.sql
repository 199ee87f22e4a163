ALTER TABLE dataset DROP COLUMN facts, ADD COLUMN sample_dims bigint[], ADD COLUMN labelled boolean;
