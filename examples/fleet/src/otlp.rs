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
//! A batch is removed from the queue when the collector has accepted or refused it. A failure of
//! the connection and the statuses 429, 502, 503 and 504 are temporary, as in the specification of
//! OTLP: the batch is sent again, so only this batch can arrive more than once. Any other status
//! than 2xx refuses the batch. It is then counted as refused, because it would be refused again and
//! block the queue.
//!
//! Logs do not depend on the success of metrics, because a collector may support only one of them.
//!
//! Semantic conventions (1.44) have no names for TCP retransmissions, so the names begin with
//! `retrans`. Addresses and the kind have the standard names.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
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
/// The maximum time of a request, and of [`Exporter::finish`]. Name resolution is not limited,
/// because the function of the C library has no deadline.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a response.
const RESPONSE: usize = 64 << 10;
/// The maximum number of addresses of a host that are tried.
const ADDRESSES: usize = 4;

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
    fn post(&self, signal: &str, message: &impl Message, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let Self { host, port, path } = self;
        // Before the name resolution, which has no deadline.
        remaining(deadline)?;
        let addresses = (host.trim_matches(['[', ']']), *port).to_socket_addrs()?;
        let mut stream = connect(&addresses.take(ADDRESSES).collect::<Vec<_>>(), deadline)?;
        let body = message.encode_to_vec();
        let head = format!(
            "POST {path}/v1/{signal} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: {}\r\nUser-Agent: retrans-agent/{}\r\nConnection: close\r\n\r\n",
            body.len(),
            env!("CARGO_PKG_VERSION")
        );
        let written = write_all(&mut stream, &[head.into_bytes(), body].concat(), deadline);
        let response = read_response(&mut stream, deadline).map_err(Failure::Io);
        let answer = response.and_then(|response| parse_response(&response));
        match (written, answer) {
            (Err(error), Err(Failure::Io(_))) => Err(Failure::Io(error)),
            // A collector may refuse a request before it has read all of it.
            (_, answer) => answer,
        }
    }
}

/// The reason that a request was not accepted.
#[derive(Debug)]
enum Failure {
    /// The collector was not reached, or did not answer in time.
    Io(io::Error),
    /// The status of the response.
    Status(u16),
}

impl Failure {
    /// Returns whether the same request may be accepted later.
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Status(429 | 502 | 503 | 504))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Status(status) => write!(f, "the collector returned {status}"),
        }
    }
}

/// Returns the time before a deadline, which is not zero.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the request was not answered in time"));
    }
    Ok(left)
}

/// Returns whether a call only ended because of its timeout or a signal.
fn is_interrupted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Connects to the first address that answers.
fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (number, address) in (1..=addresses.len() as u32).rev().zip(addresses) {
        // An address that does not answer leaves time for the others.
        match TcpStream::connect_timeout(address, remaining(deadline)? / number) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Writes all bytes before a deadline.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a response, or its beginning if it is too large, before a deadline.
fn read_response(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    while !is_complete(&response) && response.len() < RESPONSE {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(response)
}

/// Returns the status of a response whose head is complete, the length of the head, and the length
/// of the body if the head contains it.
fn parse_head(response: &[u8]) -> Option<(Option<u16>, usize, Option<usize>)> {
    let length = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&response[..length]);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    let body = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((status, length, body))
}

/// Returns whether no further bytes of a response are needed.
fn is_complete(response: &[u8]) -> bool {
    match parse_head(response) {
        // It has no body.
        Some((Some(204), ..)) => true,
        Some((Some(200..=299), head, body)) => body.is_some_and(|body| response.len() - head >= body),
        // Only the status matters.
        Some(_) => true,
        None => false,
    }
}

/// Returns the body of a response with a status of 200 to 299.
fn parse_response(response: &[u8]) -> Result<Vec<u8>, Failure> {
    match parse_head(response) {
        Some((Some(200..=299), head, body)) => {
            let body = body.unwrap_or(usize::MAX).min(response.len() - head);
            Ok(response[head..head + body].to_vec())
        }
        Some((Some(status @ 200..), ..)) => Err(Failure::Status(status)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a response of HTTP").into()),
    }
}

/// Counters of the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Events that the collector accepted.
    pub accepted: u64,
    /// Events that the collector refused, in a partially accepted request or with a status that is
    /// not temporary. They are not sent again.
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
    /// The deadline of `finish`, which sets it.
    end: Option<Instant>,
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
    /// Returns within 10 seconds, unless the name of the collector is being resolved.
    pub fn finish(&mut self) -> Sent {
        lock(&self.shared.0).end = Some(Instant::now() + TIMEOUT);
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
        // Set by a temporary failure. A full queue would otherwise wake the thread at once.
        let mut waits = false;
        loop {
            let end = self.wait_until(next, waits);
            // The number of events to send even if they are less than a batch. Without this limit,
            // a steady producer would cause requests with few events.
            let mut due = 0;
            if end.is_some() || Instant::now() >= next {
                self.send_metrics(end);
                // After the request, so that slow metrics leave time for events.
                next = Instant::now() + self.interval;
                waits = false;
                due = self.queued();
            }
            while !waits && (end.is_some() || Instant::now() < next) && (due > 0 || self.queued() >= BATCH) {
                match self.send_logs() {
                    Some(number) => due = due.saturating_sub(number),
                    None => {
                        waits = true;
                        next = Instant::now() + self.interval;
                    }
                }
            }
            if end.is_some() {
                let mut shared = lock(&self.shared.0);
                shared.sent.dropped += shared.queue.len() as u64;
                shared.queue.clear();
                return;
            }
        }
    }

    fn queued(&self) -> usize {
        lock(&self.shared.0).queue.len()
    }

    /// Waits for a time, the end, or a batch unless `ignores_queue`. Returns the deadline of the
    /// end.
    fn wait_until(&self, next: Instant, ignores_queue: bool) -> Option<Instant> {
        let (shared, wake) = &*self.shared;
        let mut shared = lock(shared);
        loop {
            let left = next.saturating_duration_since(Instant::now());
            let has_batch = !ignores_queue && shared.queue.len() >= BATCH;
            if shared.end.is_some() || left.is_zero() || has_batch {
                return shared.end;
            }
            shared = wake.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn failed(&self, signal: &str, error: impl fmt::Display) {
        let mut shared = lock(&self.shared.0);
        shared.sent.failed += 1;
        shared.error = Some(format!("cannot send {signal} to {}: {error}", self.endpoint));
    }

    /// Sends a batch. Returns the number of events that left the queue, or `None` if the failure is
    /// temporary.
    fn send_logs(&self) -> Option<usize> {
        let (records, end) = {
            let shared = lock(&self.shared.0);
            (shared.queue.iter().take(BATCH).cloned().collect::<Vec<_>>(), shared.end)
        };
        let number = records.len();
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records: records, ..ScopeLogs::default() }];
        let resource = Some(self.resource.clone());
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
        };
        let deadline = Instant::now() + TIMEOUT;
        let refused = match self.endpoint.post("logs", &request, end.map_or(deadline, |end| end.min(deadline))) {
            Ok(body) => {
                let response = ExportLogsServiceResponse::decode(&*body).unwrap_or_default();
                let refused = response.partial_success.map_or(0, |partial| partial.rejected_log_records);
                refused.max(0).unsigned_abs().min(number as u64)
            }
            Err(failure) => {
                self.failed("logs", &failure);
                if failure.is_temporary() {
                    return None;
                }
                number as u64
            }
        };
        let mut shared = lock(&self.shared.0);
        shared.queue.drain(..number);
        shared.sent.accepted += number as u64 - refused;
        shared.sent.refused += refused;
        Some(number)
    }

    /// Sends the counters. They are cumulative, so those of a failed request arrive with the next.
    fn send_metrics(&self, end: Option<Instant>) {
        let stats = self.reader.read();
        let sent = lock(&self.shared.0).sent;
        let metrics = metrics(&stats, sent, self.started, now());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
        };
        let now = Instant::now();
        // At the end, half of the time is left for the events.
        let deadline = end.map_or(now + TIMEOUT, |end| now + end.saturating_duration_since(now) / 2);
        match self.endpoint.post("metrics", &request, deadline) {
            Ok(body) => {
                let response = ExportMetricsServiceResponse::decode(&*body).unwrap_or_default();
                if let Some(partial) = response.partial_success.filter(|partial| partial.rejected_data_points > 0) {
                    self.failed("metrics", partial.error_message);
                }
            }
            Err(failure) => self.failed("metrics", failure),
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

fn metrics(stats: &Stats, sent: Sent, started: u64, time: u64) -> Vec<Metric> {
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
        sum("retrans.otlp.dropped", "Events that were not sent.", "{event}", vec![point(Vec::new(), sent.dropped)]),
        sum(
            "retrans.otlp.refused",
            "Events that the collector refused.",
            "{event}",
            vec![point(Vec::new(), sent.refused)],
        ),
    ];
    // A metric without points is not valid.
    metrics.retain(|metric| matches!(&metric.data, Some(Data::Sum(sum)) if !sum.data_points.is_empty()));
    metrics
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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
    fn only_a_complete_response_with_status_2xx_is_accepted() {
        let body = |text: &str| parse_response(text.as_bytes()).map_err(|failure| failure.to_string());
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"), Ok(b"ab".to_vec()));
        assert_eq!(body("HTTP/1.0 202 Accepted\r\n\r\nab"), Ok(b"ab".to_vec()));
        assert_eq!(body("HTTP/1.1 204\r\n\r\n"), Ok(Vec::new()));
        assert_eq!(body("HTTP/1.1 503 Busy\r\n\r\n"), Err("the collector returned 503".to_owned()));
        for text in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "\r\n\r\n", "HTTP/1.1 OK\r\n\r\n"] {
            assert!(matches!(parse_response(text.as_bytes()), Err(Failure::Io(_))), "{text}");
        }
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(is_complete(b"HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(is_complete(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99\r\n\r\n"), "the status is enough");
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2"));
    }

    #[test]
    fn only_some_failures_are_temporary() {
        let temporary: Vec<_> = (300..600).filter(|status| Failure::Status(*status).is_temporary()).collect();
        assert_eq!(temporary, [429, 502, 503, 504]);
        assert!(Failure::Io(io::ErrorKind::ConnectionRefused.into()).is_temporary());
    }

    #[test]
    fn a_deadline_limits_all_addresses() {
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("an address");
        assert!(connect(&[closed, open], Instant::now() + TIMEOUT).is_ok());
        assert_eq!(connect(&[], Instant::now() + TIMEOUT).expect_err("none").kind(), io::ErrorKind::NotFound);
        assert_eq!(connect(&[open], Instant::now()).expect_err("too late").kind(), io::ErrorKind::TimedOut);
    }

    /// Each write of a part succeeds before its timeout.
    #[test]
    fn a_deadline_limits_all_writes_and_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buffer = [0; 64 << 10];
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                thread::sleep(Duration::from_millis(20));
                let _ = stream.write_all(b"H");
            }
        });
        let mut stream = TcpStream::connect(address).expect("a connection");
        let began = Instant::now();
        let deadline = || Instant::now() + Duration::from_millis(300);
        let error = write_all(&mut stream, &vec![0; 64 << 20], deadline()).expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = read_response(&mut stream, deadline()).expect_err("incomplete");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        stream.shutdown(std::net::Shutdown::Both).expect("it is open");
        drop(stream);
        server.join().expect("no panic");
    }
}
