-- The same in both dialects.
CREATE OR REPLACE VIEW manifests AS
SELECT
  instance, epoch, number, from_at, to_at, previous, begins, epoch_before, because, destination,
  version, configuration, entries
FROM manifest_lines WHERE "schema" IS NOT NULL;
-- What is told of again, as in an epoch that began with a lost journal: the last entry counts. Each
-- host speaks for itself: what two hosts claim is there twice.
CREATE OR REPLACE VIEW objects AS
SELECT
  instance, watch, CAST(mtime AS date) AS "day", "path", raw_start, raw_end, "key", size, etag, checksum,
  sha256, compression, inode, generation, mtime, first_sent, last_sent, sealed, epoch, number
FROM (
  SELECT *, row_number() OVER (PARTITION BY instance, "key" ORDER BY epoch DESC, number DESC) AS newest
  FROM manifest_lines WHERE etag IS NOT NULL
) AS entries
WHERE newest = 1;
CREATE OR REPLACE VIEW losses AS
SELECT
  instance, watch, loss, lost_at, "path", raw_start, raw_end, code, detail, "key", inode, generation,
  mtime, epoch, number
FROM (
  SELECT *, row_number() OVER (PARTITION BY instance, "key" ORDER BY epoch DESC, number DESC) AS newest
  FROM manifest_lines WHERE loss IS NOT NULL
) AS entries
WHERE newest = 1;

-- query overdue: watches of which no log came for {{expect_every}}, but of instances that have ended
-- If last_manifest is old, too, the whole instance is silent. A watch that never shipped is not here.
-- A reboot is a drain, too: an instance whose shipper did not come back after one counts as ended, also
-- in the query hosts. `shipper audit --manifests --expect FILE` names it.
WITH hosts AS (
  SELECT instance, max(to_at) AS last_manifest,
    max_by(because, to_at) FILTER (WHERE because NOT IN ('stop', 'full')) AS last_but_a_stop
  FROM manifests GROUP BY instance
), watches AS (
  SELECT watch, instance, max(coalesce(last_sent, mtime)) AS last_sent, max(mtime) AS newest_log
  FROM objects GROUP BY watch, instance
)
SELECT watch, watches.instance, last_sent, newest_log, last_manifest
FROM watches JOIN hosts ON hosts.instance = watches.instance
WHERE coalesce(last_but_a_stop, '') <> 'drain'
  AND last_sent < CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp)
    - INTERVAL '{{expect_seconds}}' SECOND
ORDER BY last_sent, watch, watches.instance;

-- query bytes: what each watch shipped of each day, by the time of the files
SELECT watch, "day", count(DISTINCT instance) AS instances, count(*) AS objects,
  sum(raw_end - raw_start) AS raw_bytes, sum(size) AS stored_bytes
FROM objects GROUP BY watch, "day" ORDER BY "day" DESC, watch;

-- query hosts: all hosts on {{day}}: how much of the day their manifests cover, and what was sent then
-- Below 100 percent a host was silent, or began or ended that day; above, two hosts write as one.
WITH bounds AS (
  SELECT TIMESTAMP '{{day}} 00:00:00' AS begins_at,
    TIMESTAMP '{{day}} 00:00:00' + INTERVAL '1' DAY AS ends_at
), hosts AS (
  SELECT instance, max(to_at) AS last_manifest, max_by(because, to_at) AS because,
    sum(CASE WHEN to_at > begins_at AND from_at < ends_at
      THEN date_diff('second', greatest(from_at, begins_at), least(to_at, ends_at)) ELSE 0 END) AS seconds
  FROM manifests CROSS JOIN bounds GROUP BY instance
  HAVING min(from_at) < max(ends_at)
    AND (max(to_at) > max(begins_at) OR coalesce(
      max_by(because, to_at) FILTER (WHERE because NOT IN ('stop', 'full')), '') <> 'drain')
), sent AS (
  SELECT instance, count(*) AS objects, sum(raw_end - raw_start) AS raw_bytes
  FROM objects CROSS JOIN bounds
  WHERE coalesce(last_sent, mtime) >= begins_at AND coalesce(last_sent, mtime) < ends_at
  GROUP BY instance
), lost AS (
  SELECT instance, count(*) AS losses
  FROM losses CROSS JOIN bounds WHERE lost_at >= begins_at AND lost_at < ends_at GROUP BY instance
)
SELECT hosts.instance, round(seconds / 864.0, 1) AS covered_percent, coalesce(objects, 0) AS objects,
  coalesce(raw_bytes, 0) AS raw_bytes, coalesce(losses, 0) AS losses, last_manifest, because
FROM hosts
LEFT JOIN sent ON sent.instance = hosts.instance
LEFT JOIN lost ON lost.instance = hosts.instance
ORDER BY covered_percent, hosts.instance;

-- query gaps: segments of logs before which bytes are missing: no object of the same log ends there
-- A log is known by its inode, or by its directory and the letters with which its name begins.
SELECT later.instance, later.watch, later."path", later.raw_start AS missing_before, later."key"
FROM objects AS later
LEFT JOIN objects AS earlier
  ON earlier.instance = later.instance AND earlier.watch = later.watch
  AND earlier.raw_end = later.raw_start
  AND (earlier.inode = later.inode OR regexp_extract(earlier."path", '^.*/[^/._0-9-]*')
    = regexp_extract(later."path", '^.*/[^/._0-9-]*'))
WHERE later.raw_start > 0 AND earlier."key" IS NULL
ORDER BY later.instance, later.watch, later."path", later.raw_start;

-- query missing: manifests that are not there, or not whole; `shipper audit --manifests` proves the chain
WITH numbers AS (
  SELECT instance, epoch, number, max(entries) AS entries, count(*) - 1 AS told,
    lag(number) OVER (PARTITION BY instance, epoch ORDER BY number) AS last_number
  FROM manifest_lines GROUP BY instance, epoch, number
)
SELECT instance, epoch,
  CASE WHEN number > coalesce(last_number, 0) + 1 THEN coalesce(last_number, 0) + 1
    ELSE number END AS first_missing,
  CASE WHEN told < coalesce(entries, told + 1) THEN number ELSE number - 1 END AS last_missing
FROM numbers
WHERE number > coalesce(last_number, 0) + 1 OR told < coalesce(entries, told + 1)
ORDER BY instance, epoch, number;

-- query losses: what was promised and never came: gone, superseded or parked, without an object since
-- What is superseded changed before it was sent, and came as it then was under another key.
SELECT losses.lost_at, losses.instance, losses.watch, loss, losses."path", losses.raw_start,
  losses.raw_end, code, detail
FROM losses LEFT JOIN objects
  ON objects."key" = losses."key" AND objects.instance = losses.instance
WHERE objects."key" IS NULL AND loss <> 'duplicate'
ORDER BY losses.lost_at DESC, losses.instance, losses."path";
