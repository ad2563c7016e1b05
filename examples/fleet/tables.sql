-- SPDX-License-Identifier: MIT OR Apache-2.0
-- The two tables of the directory in the variable `retrans`, for DuckDB:
--
--     SET VARIABLE retrans = '/var/lib/retrans';
--     .read examples/fleet/tables.sql
--     .read examples/fleet/views.sql
--
-- `date` and `host` are columns, from the names of the directories. Their types are set, because
-- DuckDB would read hosts whose names are numbers as numbers.
CREATE VIEW events AS
SELECT * FROM read_parquet(getvariable('retrans') || '/events/*/*/*.parquet',
                           hive_partitioning = true, hive_types = {'date': DATE, 'host': VARCHAR},
                           union_by_name = true);

CREATE VIEW counts AS
SELECT * FROM read_parquet(getvariable('retrans') || '/counts/*/*/*.parquet',
                           hive_partitioning = true, hive_types = {'date': DATE, 'host': VARCHAR},
                           union_by_name = true);
