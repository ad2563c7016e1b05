-- SPDX-License-Identifier: MIT OR Apache-2.0
-- Ten questions to the tables `events` and `counts` of retrans-agent, in SQL that is not specific to
-- an engine. docs/fleet.md describes the tables. A cookie is unique within one boot of one host.

-- Which remote prefixes fail, and when?
CREATE VIEW failures_by_prefix AS
SELECT date_trunc('hour', ts) AS hour, daddr_prefix, result, count(*) AS attempts,
       count(DISTINCT host) AS hosts
FROM events
WHERE result <> 'success'
GROUP BY date_trunc('hour', ts), daddr_prefix, result;

-- Which host was the first with a result?
CREATE VIEW first_host AS
SELECT result, ts, host, daddr
FROM (SELECT result, ts, host, daddr,
             row_number() OVER (PARTITION BY result ORDER BY ts_ns, host) AS place
      FROM events
      WHERE result <> 'success') AS ordered
WHERE place = 1;

-- Which routes come and go? Counts how often attempts to a prefix changed between success and a
-- failure of the route.
CREATE VIEW flapping_routes AS
SELECT host, daddr_prefix, count(*) AS changes
FROM (SELECT host, daddr_prefix, class,
             lag(class) OVER (PARTITION BY host, daddr_prefix ORDER BY ts_ns) AS previous
      FROM events
      WHERE class IN ('ok', 'route')) AS neighbours
WHERE previous <> class
GROUP BY host, daddr_prefix;

-- What kind of attempt precedes a failure of the same connection?
CREATE VIEW kinds_before_failure AS
SELECT previous AS kind, result, count(*) AS attempts
FROM (SELECT result, lag(kind) OVER (PARTITION BY host, boot_id, cookie ORDER BY ts_ns) AS previous
      FROM events
      WHERE cookie IS NOT NULL) AS neighbours
WHERE result <> 'success' AND previous IS NOT NULL
GROUP BY previous, result;

-- What share of the attempts of a host are timeouts?
CREATE VIEW rto_share AS
SELECT host, date_trunc('hour', ts) AS hour, count(*) AS attempts,
       avg(CASE WHEN kind = 'rto' THEN 1.0 ELSE 0.0 END) AS share
FROM events
GROUP BY host, date_trunc('hour', ts);

-- What drops segments on the host itself? Requires --drops.
CREATE VIEW droppers AS
SELECT host, drop_reason, drop_at, drop_dev, count(*) AS attempts
FROM events
WHERE drop_reason IS NOT NULL
GROUP BY host, drop_reason, drop_at, drop_dev;

-- How did the attempts of each connection end?
CREATE VIEW last_attempts AS
SELECT host, result, state, count(*) AS connections
FROM (SELECT host, result, state,
             row_number() OVER (PARTITION BY host, boot_id, cookie ORDER BY ts_ns DESC) AS place
      FROM events
      WHERE cookie IS NOT NULL) AS ordered
WHERE place = 1
GROUP BY host, result, state;

-- Which workloads are affected?
CREATE VIEW workloads AS
SELECT host, coalesce(namespace, '') AS namespace, coalesce(pod, container_id, unit, 'unknown') AS workload,
       count(*) AS attempts, sum(CASE WHEN result <> 'success' THEN 1 ELSE 0 END) AS failures
FROM events
GROUP BY host, coalesce(namespace, ''), coalesce(pod, container_id, unit, 'unknown');

-- How many attempts were there, including those whose events were not stored?
CREATE VIEW counted AS
SELECT host, date, result, kind, sum(attempts) AS attempts, sum(segs) AS segs
FROM counts
WHERE result IS NOT NULL
GROUP BY host, date, result, kind;

-- Are the events complete? `seen` is the number of attempts, of which the other columns and the
-- stored events are parts. An agent that was killed has fewer stored events than delivered ones.
CREATE VIEW completeness AS
SELECT c.host, c.date, c.seen, c.filtered, c.limited, c.lost, c.dropped, c.delivered,
       coalesce(e.stored, 0) AS stored
FROM (SELECT host, date,
             sum(CASE WHEN disposition = 'seen' THEN attempts ELSE 0 END) AS seen,
             sum(CASE WHEN disposition = 'filtered' THEN attempts ELSE 0 END) AS filtered,
             sum(CASE WHEN disposition = 'limited' THEN attempts ELSE 0 END) AS limited,
             sum(CASE WHEN disposition = 'lost' THEN attempts ELSE 0 END) AS lost,
             sum(CASE WHEN disposition = 'dropped' THEN attempts ELSE 0 END) AS dropped,
             sum(CASE WHEN disposition = 'delivered' THEN attempts ELSE 0 END) AS delivered
      FROM counts
      GROUP BY host, date) AS c
LEFT JOIN (SELECT host, date, count(*) AS stored FROM events GROUP BY host, date) AS e
    ON c.host = e.host AND c.date = e.date;
