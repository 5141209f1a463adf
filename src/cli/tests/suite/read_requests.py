"""Reads requests.parquet with DuckDB and prints as JSON what a test compares with run.json: the columns, and per probe the
number of rows, the judged ones, the tokens and the median of TTFT over judged requests."""

import json
import sys

import duckdb

requests = duckdb.read_parquet(sys.argv[1])
probes = duckdb.sql("""
    SELECT ladder, probe, concurrency, count(*), count(*) FILTER (judged),
           CASE WHEN bool_and(first_s IS NOT NULL OR NOT judged)
                THEN quantile_cont(first_s - submitted_s, 0.5) FILTER (judged) END,
           CASE WHEN bool_and(queued_s IS NOT NULL OR NOT judged) THEN quantile_cont(queued_s, 0.5) FILTER (judged) END, min(prompt_tokens), count(reason)
    FROM requests GROUP BY ladder, probe, concurrency ORDER BY ladder, probe
""").fetchall()
columns = {name: str(kind) for name, kind in zip(requests.columns, requests.types)}
json.dump({"columns": columns, "probes": probes}, sys.stdout)
