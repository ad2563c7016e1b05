// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends events as logs, and the counters as metrics, to an OpenTelemetry collector, with OTLP over
//! HTTP.
//!
//! # Design
//!
//! A separate thread sends, so that a slow collector delays no other output. Events wait for it in
//! a bounded queue. If the collector is gone, the queue fills, and further events are counted as
//! dropped. The metric `retrans.otlp.dropped` reports them later. Metrics are cumulative, so those
//! that are sent after an outage are complete.
//!
//! A batch is removed from the queue when the collector has accepted it. If the connection ends
//! before the response, the batch is sent again, so at most this batch arrives twice.
//!
//! Semantic conventions (1.44) have no names for TCP retransmissions, so the names begin with
//! `retrans`. Addresses and the kind have the standard names.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use retrans_sdk::host::{HostId, Workload};
use retrans_sdk::stats::{Count, StatsReader};
use retrans_sdk::{Event, ResultClass, RetransKind, RetransResult, Stats};

/// The maximum number of events in a request.
const BATCH: usize = 512;
/// The maximum time of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a response.
const RESPONSE: u64 = 64 << 10;

/// The address of a collector: `http://HOST[:PORT][/PATH]`. TLS is not supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("expected http://HOST:PORT; TLS is not supported")?;
        let (authority, path) =
            rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        // The brackets of an IPv6 address contain colons.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| format!("no port: {port}"))?),
            _ => (authority, 4318),
        };
        let is_valid = |byte: u8| byte.is_ascii_graphic();
        if host.is_empty() || !url.bytes().all(is_valid) {
            return Err("expected http://HOST:PORT".to_owned());
        }
        Ok(Self { host: host.to_owned(), port, path: path.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

impl Endpoint {
    /// Sends a message, and returns the body of the response.
    fn post(&self, signal: &str, message: &impl Message) -> io::Result<Vec<u8>> {
        let Self { host, port, path } = self;
        let deadline = Instant::now() + TIMEOUT;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let addresses = (host.trim_matches(['[', ']']), *port).to_socket_addrs()?;
        let connect = |address| TcpStream::connect_timeout(&address, TIMEOUT);
        let stream = addresses.take(4).find_map(|address| connect(address).map_err(|error| last = error).ok());
        let mut stream = stream.ok_or(last)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let body = message.encode_to_vec();
        let head = format!(
            "POST {path}/v1/{signal} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: {}\r\nUser-Agent: retrans-agent/{}\r\nConnection: close\r\n\r\n",
            body.len(),
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(&[head.into_bytes(), body].concat())?;
        let response = read_until_closed(&mut stream, deadline)?;
        parse_response(&response)
    }
}

/// Reads to the end of the connection, up to a size and a time.
fn read_until_closed(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || response.len() as u64 > RESPONSE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the response is too slow or too large"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(response),
            read => response.extend_from_slice(&buffer[..read]),
        }
        if let Some(length) = complete_length(&response)
            && response.len() >= length
        {
            response.truncate(length);
            return Ok(response);
        }
    }
}

/// Returns the length of a response whose head is complete and contains the length of the body.
fn complete_length(response: &[u8]) -> Option<usize> {
    let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&response[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    head.checked_add(length)
}

/// Returns the body of a response with status 200.
fn parse_response(response: &[u8]) -> io::Result<Vec<u8>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a response of HTTP");
    let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(malformed)?;
    let line = response.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    match line.split(' ').nth(1) {
        Some("200") => Ok(response[head + 4..].to_vec()),
        Some(status) if line.starts_with("HTTP/1.") => {
            Err(io::Error::other(format!("the collector returned {status}")))
        }
        _ => Err(malformed()),
    }
}

/// Counters of the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Events that the collector accepted.
    pub accepted: u64,
    /// Events that the collector refused in an accepted request.
    pub refused: u64,
    /// Events that were not queued, because the queue was full, or that were left at the end.
    pub dropped: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Prints `accepted=3 refused=0 dropped=0 failed=0`.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, dropped, failed } = self;
        write!(f, "accepted={accepted} refused={refused} dropped={dropped} failed={failed}")
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: VecDeque<LogRecord>,
    sent: Sent,
    /// Set by `finish`.
    ends: bool,
    /// The error of the last request, until it was taken.
    error: Option<String>,
}

/// Sends events and counters to a collector.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the thread that sends. At most `capacity` events wait for it. Metrics are sent each
    /// `interval`, and events at the same time, or when a batch is complete.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub fn start(
        endpoint: Endpoint,
        host: &HostId,
        reader: StatsReader,
        capacity: usize,
        interval: Duration,
    ) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(Shared::default()), Condvar::new()));
        let sender = Sender {
            shared: Arc::clone(&shared),
            endpoint,
            resource: resource(host),
            reader,
            interval,
            started: now(),
        };
        let thread = thread::Builder::new().name("otlp".to_owned()).spawn(move || sender.run())?;
        Ok(Self { shared, capacity, thread: Some(thread) })
    }

    /// Queues an event of a workload.
    pub fn push(&self, event: &Event, workload: Option<&Workload>) {
        let (shared, wake) = &*self.shared;
        let mut shared = lock(shared);
        if shared.queue.len() >= self.capacity {
            shared.sent.dropped += 1;
            return;
        }
        shared.queue.push_back(log_record(event, workload));
        if shared.queue.len() >= BATCH {
            wake.notify_one();
        }
    }

    /// Returns the counters, and the error of the last request if it was not returned before.
    #[must_use]
    pub fn sent(&self) -> (Sent, Option<String>) {
        let mut shared = lock(&self.shared.0);
        (shared.sent, shared.error.take())
    }

    /// Sends what is left, once. What the collector does not accept then is counted as dropped.
    pub fn finish(&mut self) -> Sent {
        lock(&self.shared.0).ends = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
        lock(&self.shared.0).sent
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that sends.
struct Sender {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    endpoint: Endpoint,
    resource: Resource,
    reader: StatsReader,
    interval: Duration,
    started: u64,
}

impl Sender {
    fn run(self) {
        let mut next = Instant::now() + self.interval;
        loop {
            let ends = self.wait_until(next);
            let mut is_reachable = true;
            if ends || Instant::now() >= next {
                next = Instant::now() + self.interval;
                is_reachable = self.send_metrics();
            }
            while is_reachable && !lock(&self.shared.0).queue.is_empty() {
                is_reachable = self.send_logs();
            }
            if ends {
                let mut shared = lock(&self.shared.0);
                shared.sent.dropped += shared.queue.len() as u64;
                shared.queue.clear();
                return;
            }
            if !is_reachable {
                // A full queue would otherwise wake the thread at once.
                next = Instant::now() + self.interval;
                self.pause(next);
            }
        }
    }

    /// Waits for a time, a batch, or the end. Returns true at the end.
    fn wait_until(&self, next: Instant) -> bool {
        let (shared, wake) = &*self.shared;
        let mut shared = lock(shared);
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if shared.ends || left.is_zero() || shared.queue.len() >= BATCH {
                return shared.ends;
            }
            shared = wake.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a time or the end.
    fn pause(&self, next: Instant) {
        let (shared, wake) = &*self.shared;
        let mut shared = lock(shared);
        while !shared.ends && Instant::now() < next {
            let left = next.saturating_duration_since(Instant::now());
            shared = wake.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn failed(&self, error: &io::Error) -> bool {
        let mut shared = lock(&self.shared.0);
        shared.sent.failed += 1;
        shared.error = Some(format!("cannot send to {}: {error}", self.endpoint));
        false
    }

    fn send_logs(&self) -> bool {
        let records: Vec<_> = lock(&self.shared.0).queue.iter().take(BATCH).cloned().collect();
        let number = records.len();
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records: records, ..ScopeLogs::default() }];
        let resource = Some(self.resource.clone());
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
        };
        let body = match self.endpoint.post("logs", &request) {
            Ok(body) => body,
            Err(error) => return self.failed(&error),
        };
        let response = ExportLogsServiceResponse::decode(&*body).unwrap_or_default();
        let refused = response.partial_success.map_or(0, |partial| partial.rejected_log_records.max(0).unsigned_abs());
        let refused = refused.min(number as u64);
        let mut shared = lock(&self.shared.0);
        shared.queue.drain(..number);
        shared.sent.accepted += number as u64 - refused;
        shared.sent.refused += refused;
        true
    }

    fn send_metrics(&self) -> bool {
        let stats = self.reader.read();
        let dropped = lock(&self.shared.0).sent.dropped;
        let metrics = metrics(&stats, dropped, self.started, now());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
        };
        match self.endpoint.post("metrics", &request) {
            Ok(body) => {
                let response = ExportMetricsServiceResponse::decode(&*body).unwrap_or_default();
                match response.partial_success.filter(|partial| partial.rejected_data_points > 0) {
                    Some(partial) => self.failed(&io::Error::other(partial.error_message)),
                    None => true,
                }
            }
            Err(error) => self.failed(&error),
        }
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: impl fmt::Display) -> KeyValue {
    attribute(key, Value::StringValue(value.to_string()))
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "retrans".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn resource(host: &HostId) -> Resource {
    let mut attributes = vec![text("service.name", "retrans-agent"), text("host.name", &host.name)];
    attributes.extend(host.machine_id.as_ref().map(|id| text("host.id", id)));
    attributes.extend(host.boot_id.as_ref().map(|id| text("retrans.boot_id", id)));
    Resource { attributes, ..Resource::default() }
}

/// Returns the attributes of a result and a kind. `None` is the common count of unlisted results.
fn outcome(result: Option<RetransResult>, kind: RetransKind) -> Vec<KeyValue> {
    let name = result.map_or_else(|| "-".to_owned(), |result| result.to_string());
    let class = result.map_or(ResultClass::Other, RetransResult::class);
    let mut attributes = vec![text("retrans.result", &name), text("retrans.class", class), text("retrans.kind", kind)];
    if result != Some(RetransResult::Success) {
        attributes.push(text("error.type", name));
    }
    // The other kinds have no equivalent.
    let standard = match kind {
        RetransKind::Rto => Some("timeout"),
        RetransKind::Tlp => Some("tail_loss_probe"),
        RetransKind::Fast => Some("fast"),
        _ => None,
    };
    attributes.extend(standard.map(|standard| text("network.tcp.retransmit.type", standard)));
    attributes
}

fn log_record(event: &Event, workload: Option<&Workload>) -> LogRecord {
    let mut attributes = outcome(Some(event.result), event.kind);
    attributes.extend([
        text("network.local.address", event.saddr),
        attribute("network.local.port", Value::IntValue(event.sport.into())),
        text("network.peer.address", event.daddr),
        attribute("network.peer.port", Value::IntValue(event.dport.into())),
    ]);
    if let Some(workload) = workload {
        let Workload { unit, container_id, pod_uid, namespace, pod, container, .. } = workload;
        let known = [
            ("retrans.unit", unit),
            ("container.id", container_id),
            ("k8s.pod.uid", pod_uid),
            ("k8s.namespace.name", namespace),
            ("k8s.pod.name", pod),
            ("k8s.container.name", container),
        ];
        attributes.extend(known.into_iter().filter_map(|(key, value)| Some(text(key, value.as_ref()?))));
    }
    let (severity, severity_text) = match event.result {
        RetransResult::Success => (SeverityNumber::Info, "INFO"),
        _ => (SeverityNumber::Warn, "WARN"),
    };
    LogRecord {
        time_unix_nano: event.ts.as_nanos(),
        observed_time_unix_nano: now(),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(event.to_string())) }),
        attributes,
        event_name: "retrans.tcp.attempt".to_owned(),
        ..LogRecord::default()
    }
}

fn metrics(stats: &Stats, dropped: u64, started: u64, time: u64) -> Vec<Metric> {
    let point = |attributes, value: u64| NumberDataPoint {
        attributes,
        start_time_unix_nano: started,
        time_unix_nano: time,
        value: Some(Number::AsInt(i64::try_from(value).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    };
    let sum = |name: &str, description: &str, unit: &str, data_points| Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let counts = |value: fn(&Count) -> u64| {
        stats.passed.iter().map(|count| point(outcome(count.result, count.kind), value(count))).collect::<Vec<_>>()
    };
    let Stats { filtered, limited, lost, rejected, dropped: of_queue, delivered, .. } = *stats;
    let dispositions = [
        ("filtered", filtered),
        ("limited", limited),
        ("lost", lost),
        ("rejected", rejected),
        ("dropped", of_queue),
        ("delivered", delivered),
    ];
    let dispositions = dispositions.map(|(name, value)| point(vec![text("retrans.disposition", name)], value));
    let mut metrics = vec![
        sum("retrans.tcp.attempts", "Retransmission attempts by result and kind.", "{attempt}", counts(|c| c.attempts)),
        sum("retrans.tcp.segments", "Segments of retransmission attempts.", "{segment}", counts(|c| c.segs)),
        sum("retrans.dispositions", "Attempts by what became of their events.", "{attempt}", dispositions.to_vec()),
        sum("retrans.otlp.dropped", "Events that were not sent.", "{event}", vec![point(Vec::new(), dropped)]),
    ];
    // A metric without points is not valid.
    metrics.retain(|metric| matches!(&metric.data, Some(Data::Sum(sum)) if !sum.data_points.is_empty()));
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_tls() {
        let parse = |url: &str| url.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(parse("http://collector"), Ok("http://collector:4318".to_owned()));
        assert_eq!(parse("http://[::1]:4000/base/"), Ok("http://[::1]:4000/base".to_owned()));
        assert_eq!(parse("http://[::1]"), Ok("http://[::1]:4318".to_owned()));
        for url in ["https://a:1", "a:1", "http://", "http://:1", "http://a:x", "http://a b:1", "http://a\r\n:1"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_a_complete_response_with_status_200_is_accepted() {
        let body = |text: &str| parse_response(text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"), Ok(b"ab".to_vec()));
        assert_eq!(body("HTTP/1.1 503 Busy\r\n\r\n"), Err("the collector returned 503".to_owned()));
        for text in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "\r\n\r\n"] {
            assert!(body(text).is_err(), "{text}");
        }
        assert_eq!(complete_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), Some(40));
        assert_eq!(complete_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2"), None);
    }
}
