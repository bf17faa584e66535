-- Manifests and logs as DuckDB reads them where they lie.
-- Cost: each query lists everything below _manifests/ (1,000 keys a request), a few times, and asks
-- for each manifest twice (HEAD and GET). `--instance ID` looks at one instance alone. To ask once:
-- CREATE TABLE kept AS FROM manifest_lines; CREATE OR REPLACE VIEW manifest_lines AS FROM kept;
-- "No files found" means that nothing is there. A manifest that is damaged ends every query of its
-- hosts, and DuckDB may not name it: `shipper audit --manifests` does.
{{secret}}
-- Every line of every manifest: its header, objects and losses. Times are UTC.
CREATE OR REPLACE VIEW manifest_lines AS
SELECT
  instance, epoch, CAST(regexp_extract(filename, '([0-9]+)[.]jsonl[.]zst$', 1) AS BIGINT) AS number,
  "schema", TRY_CAST("from" AS TIMESTAMP) AS from_at, TRY_CAST("to" AS TIMESTAMP) AS to_at, previous, begins,
  "before" AS epoch_before, because, destination, version, configuration, entries,
  "key", size, etag, checksum, sha256, compression, watch, "path", inode, generation,
  raw_start, raw_end,
  make_timestamp(mtime_ns // 1000) AS mtime, TRY_CAST(nullif(first_sent, '') AS TIMESTAMP) AS first_sent,
  TRY_CAST(nullif(last_sent, '') AS TIMESTAMP) AS last_sent, sealed,
  loss, TRY_CAST("at" AS TIMESTAMP) AS lost_at, code, detail
FROM read_json(
  {{manifests}},
  format = 'newline_delimited', compression = 'zstd', filename = true,
  hive_partitioning = true, hive_types = {'instance': VARCHAR, 'epoch': VARCHAR},
  columns = {
    "schema": 'INTEGER', "from": 'VARCHAR', "to": 'VARCHAR', previous: 'VARCHAR', begins: 'VARCHAR',
    "before": 'VARCHAR', because: 'VARCHAR', destination: 'VARCHAR', version: 'VARCHAR',
    configuration: 'VARCHAR', entries: 'BIGINT',
    "key": 'VARCHAR', size: 'BIGINT', etag: 'VARCHAR', checksum: 'VARCHAR', sha256: 'VARCHAR',
    compression: 'VARCHAR', watch: 'VARCHAR', "path": 'VARCHAR', inode: 'VARCHAR',
    generation: 'VARCHAR', raw_start: 'BIGINT', raw_end: 'BIGINT', mtime_ns: 'BIGINT', first_sent: 'VARCHAR',
    last_sent: 'VARCHAR', sealed: 'VARCHAR', loss: 'VARCHAR', "at": 'VARCHAR', code: 'VARCHAR',
    detail: 'VARCHAR'
  }
);
-- logs
-- Of keys that are made by {{log_key}}; of others: --key.
-- The lines of a watch's logs of one day: FROM {{log_lines}}('nginx', '2026-11-28'). Each argument
-- may be a glob: instance := 'i-0abc*', name := 'access.log.*.gz'. What matches is read, and all
-- before the first glob is listed: with one instance its day, else all days of the watch.
-- A carriage return ends a line, too. A file that is no UTF-8 is an error that names it, and so are
-- bzip2 and xz: DuckDB does not read them as text. `shipper cat` gives back every byte.
CREATE OR REPLACE MACRO {{log_lines}}(watch, dt, instance := '*', name := '*') AS TABLE
SELECT
  unnest(regexp_extract(filename, {{log_pattern}}, {{log_columns}})),
  coalesce(line, '') AS line, filename
FROM read_csv(
  {{log_glob}} || name,
  columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, quote = '', escape = '',
  delim = chr(1) || chr(2) || chr(3) || chr(4), max_line_size = 33554432, strict_mode = false,
  filename = true
);
-- query lines: the lines of the watch's logs of {{day}} that say "error"
SELECT instance, line FROM {{log_lines}}({{watch}}, '{{day}}') WHERE line LIKE '%error%';
