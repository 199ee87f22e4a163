DROP TABLE api_token;
DROP TYPE token_kind;
DROP TABLE tenant;
