DROP TABLE dataset;
DROP TYPE dataset_format;
DROP TABLE model;
