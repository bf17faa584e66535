-- Manifests and logs as Athena (engine 3) reads them where they lie. Athena runs one statement at a
-- time; choose the database shipper for all but the first. Dropping an external table removes no data.
CREATE DATABASE IF NOT EXISTS shipper;

-- The table of manifests has no partitions. Declared ones (MSCK REPAIR, ADD PARTITION) would leave out
-- each instance and epoch that came since, and an auditor would not see it; projected ones would have
-- to be named in every query (injected), and nobody knows all instances. Instance and epoch are in
-- "$path". Cost: each query lists and scans everything below _manifests/, a few hundred bytes an
-- object. `shipper sql athena --instance ID` makes the table of one instance.
-- A manifest that is damaged ends every query: `shipper audit --manifests` names it.
-- The Hive SerDe reads members by their names; AWS says of OpenX's that rows may get lost.
DROP TABLE IF EXISTS manifest_files;
CREATE EXTERNAL TABLE manifest_files (
  `schema` int, `from` string, `to` string, `previous` string, `begins` string, `before` string,
  `because` string, `destination` string, `version` string, `configuration` string, `entries` bigint,
  `key` string, `size` bigint, `etag` string, `checksum` string, `sha256` string,
  `compression` string, `watch` string, `path` string, `inode` string, `generation` string,
  `raw_start` bigint, `raw_end` bigint, `mtime_ns` bigint,
  `first_sent` string, `last_sent` string, `sealed` string,
  `loss` string, `at` string, `code` string, `detail` string
)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
LOCATION {{manifests}};
-- Every line of every manifest: its header, objects and losses. Times are UTC.
CREATE OR REPLACE VIEW manifest_lines AS
SELECT
  url_decode(regexp_extract("$path", '_manifests/instance=([^/]+)/epoch=[^/]+/[^/]+$', 1)) AS instance,
  regexp_extract("$path", '/epoch=([^/]+)/[^/]+$', 1) AS epoch,
  CAST(regexp_extract("$path", '([0-9]+)[.]jsonl[.]zst$', 1) AS bigint) AS number,
  "schema", CAST(TRY(from_iso8601_timestamp("from")) AT TIME ZONE 'UTC' AS timestamp) AS from_at,
  CAST(TRY(from_iso8601_timestamp("to")) AT TIME ZONE 'UTC' AS timestamp) AS to_at, previous, begins,
  "before" AS epoch_before, because, destination, version, configuration, entries,
  "key", size, etag, checksum, sha256, compression, watch, "path", inode, generation,
  raw_start, raw_end,
  CAST(TRY(from_unixtime(mtime_ns / 1e9)) AT TIME ZONE 'UTC' AS timestamp) AS mtime,
  CAST(TRY(from_iso8601_timestamp(nullif(first_sent, ''))) AT TIME ZONE 'UTC' AS timestamp) AS first_sent,
  CAST(TRY(from_iso8601_timestamp(nullif(last_sent, ''))) AT TIME ZONE 'UTC' AS timestamp) AS last_sent, sealed,
  loss, CAST(TRY(from_iso8601_timestamp("at")) AT TIME ZONE 'UTC' AS timestamp) AS lost_at, code, detail
FROM manifest_files;
-- logs
-- Of keys that are made by {{log_key}}; of others: --key.
-- The lines of logs. Partitions are projected, so a new instance or day needs no statement. watch
-- and instance are injected: every query must say watch = '...' and instance = '...', or IN with
-- several. The query hosts lists them. Say dt, too: Athena bills what it scans, and looks into each
-- day since 2000 otherwise. Athena skips objects whose name begins with a dot or an underscore, and
-- does not read xz.
DROP TABLE IF EXISTS {{log_lines}};
CREATE EXTERNAL TABLE {{log_lines}} (line string)
PARTITIONED BY (watch string, instance string, dt string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.RegexSerDe'
WITH SERDEPROPERTIES ('input.regex' = '(?s)(.*)')
LOCATION {{log_location}}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.watch.type' = 'injected',
  'projection.instance.type' = 'injected',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+1DAYS',
  'storage.location.template' = {{log_template}}
);
-- query lines: the lines of the watch's logs of {{day}} that say "error"
SELECT instance, line FROM {{log_lines}}
WHERE watch = {{watch}} AND instance IN ({{instance}}) AND dt = '{{day}}' AND line LIKE '%error%';
