// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the requests that a collector receives, attribute by attribute, and an outage.
#![cfg(all(feature = "prometheus", feature = "otlp"))]

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;
use retrans_fleet::otlp::{Endpoint, Exporter, Sent};
use retrans_lab::{Pair, privilege};
use retrans_sdk::host::{HostId, Workload};
use retrans_sdk::offline::MockSource;
use retrans_sdk::{Event, RetransResult, Stream};

use crate::common::{Agent, Faults, provoke, settled};

const PATIENCE: Duration = Duration::from_secs(30);
const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=tlp family=inet saddr=10.0.0.1 sport=4000 \
    daddr=192.0.2.7 dport=443 state=established segs=1";

/// A request: its path and body.
type Request = (String, Vec<u8>);

/// Answers each request with this status, and passes it on.
fn collect(listener: TcpListener, status: &'static str, sender: Sender<Request>) {
    serve(listener, sender, move |_| (status, Vec::new()));
}

/// Answers each request with the status and the body that `answer` returns for its path, and
/// passes it on.
fn serve(
    listener: TcpListener,
    sender: Sender<Request>,
    mut answer: impl FnMut(&str) -> (&'static str, Vec<u8>) + Send + 'static,
) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let (path, body) = loop {
                let read = stream.read(&mut buffer).expect("a request");
                assert!(read > 0, "an incomplete request");
                request.extend_from_slice(&buffer[..read]);
                let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
                let text = String::from_utf8(request[..head].to_vec()).expect("a head");
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
                assert!(text.contains("\r\nContent-Type: application/x-protobuf\r\n"), "{text}");
                if request.len() == head + 4 + length.parse::<usize>().expect("a number") {
                    let path = text.split(' ').nth(1).expect("a path").to_owned();
                    break (path, request.split_off(head + 4));
                }
            };
            let (status, content) = answer(&path);
            // Before the response, so that the request is there when the exporter has ended.
            if sender.send((path, body)).is_err() {
                return;
            }
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len());
            stream.write_all(&[head.into_bytes(), content].concat()).expect("it is sent");
        }
    });
}

fn collector() -> (SocketAddr, Receiver<Request>) {
    answering(|_| ("200 OK", Vec::new()))
}

/// Returns the address of a collector that answers as [`serve`] describes, and its requests.
fn answering(answer: impl FnMut(&str) -> (&'static str, Vec<u8>) + Send + 'static) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = mpsc::channel();
    serve(listener, sender, answer);
    (address, receiver)
}

/// Waits until the counters meet a condition.
fn wait_for(exporter: &Exporter, condition: impl Fn(Sent) -> bool) {
    let began = Instant::now();
    loop {
        let (sent, error) = exporter.sent();
        if condition(sent) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{sent} {error:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn start(address: SocketAddr, capacity: usize) -> (MockSource, Stream, Exporter) {
    let (source, stream) = Stream::builder().mock().expect("a mock");
    let endpoint: Endpoint = format!("http://{address}").parse().expect("a URL");
    let interval = Duration::from_millis(100);
    let exporter = Exporter::start(endpoint, &HostId::read(), stream.stats_reader(), capacity, interval);
    (source, stream, exporter.expect("a thread"))
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Returns the bodies of all events in a request.
fn bodies(body: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(body).expect("logs");
    let records = request.resource_logs.into_iter().flat_map(|logs| logs.scope_logs).flat_map(|logs| logs.log_records);
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    records.map(|record| text(record.body.and_then(|body| body.value))).collect()
}

#[test]
fn an_event_is_a_log_record() {
    let (address, requests) = collector();
    let (_source, _stream, mut exporter) = start(address, 10);
    let event: Event = LINE.parse().expect("a line");
    let mut workload = Workload::from_cgroup_path(Path::new("/system.slice/ssh.service"));
    workload.pod = Some("cart-0".to_owned());
    exporter.push(&event, Some(&workload));
    let sent = exporter.finish();
    assert_eq!((sent.accepted, sent.refused, sent.dropped, sent.failed), (1, 0, 0, 0));
    let (_, body) = requests.try_iter().find(|(path, _)| path == "/v1/logs").expect("logs");
    let request = ExportLogsServiceRequest::decode(&*body).expect("logs");
    let logs = &request.resource_logs[0];
    let host = HostId::read();
    let of_host = attributes(&logs.resource.as_ref().expect("a resource").attributes);
    assert_eq!(of_host["service.name"], "retrans-agent");
    assert_eq!(of_host["host.name"], host.name);
    assert_eq!(of_host.get("host.id"), host.machine_id.as_ref());
    assert_eq!(of_host.get("retrans.boot_id"), host.boot_id.as_ref());
    assert_eq!(logs.scope_logs[0].scope.as_ref().expect("a scope").name, "retrans");
    let record = &logs.scope_logs[0].log_records[0];
    assert_eq!((record.time_unix_nano, &*record.event_name), (1_500_000_000, "retrans.tcp.attempt"));
    assert_eq!(record.severity_text, "WARN");
    assert_eq!(bodies(&body), [event.to_string()]);
    let expected = map(&[
        ("error.type", "denied"),
        ("k8s.pod.name", "cart-0"),
        ("network.local.address", "10.0.0.1"),
        ("network.local.port", "4000"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "443"),
        ("network.tcp.retransmit.type", "tail_loss_probe"),
        ("retrans.class", "drop"),
        ("retrans.kind", "tlp"),
        ("retrans.result", "denied"),
        ("retrans.unit", "ssh.service"),
    ]);
    assert_eq!(attributes(&record.attributes), expected);
}

#[test]
fn counters_are_cumulative_sums() {
    let (address, requests) = collector();
    let (source, _stream, mut exporter) = start(address, 10);
    source.push_result(RetransResult::Success);
    source.push_result(RetransResult::Denied);
    source.push_result(RetransResult::Denied);
    exporter.finish();
    let (_, body) = requests.try_iter().filter(|(path, _)| path == "/v1/metrics").last().expect("metrics");
    let request = ExportMetricsServiceRequest::decode(&*body).expect("metrics");
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let points = |name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).expect("the metric");
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{sum:?}");
        let points = sum.data_points.iter().map(|point| {
            assert!(point.start_time_unix_nano > 0 && point.time_unix_nano >= point.start_time_unix_nano);
            let Some(Number::AsInt(value)) = point.value else { panic!("{point:?}") };
            (attributes(&point.attributes), value)
        });
        (metric.unit.clone(), points.collect::<Vec<_>>())
    };
    let ok = [
        ("network.tcp.retransmit.type", "timeout"),
        ("retrans.class", "ok"),
        ("retrans.kind", "rto"),
        ("retrans.result", "success"),
    ];
    let failed = [
        ("error.type", "denied"),
        ("network.tcp.retransmit.type", "timeout"),
        ("retrans.class", "drop"),
        ("retrans.kind", "rto"),
        ("retrans.result", "denied"),
    ];
    let (unit, attempts) = points("retrans.tcp.attempts");
    assert_eq!(unit, "{attempt}");
    assert!(attempts.contains(&(map(&ok), 1)) && attempts.contains(&(map(&failed), 2)), "{attempts:?}");
    assert_eq!(points("retrans.tcp.segments").0, "{segment}");
    let (_, dispositions) = points("retrans.dispositions");
    assert_eq!(dispositions.len(), 6);
    assert_eq!(points("retrans.otlp.dropped").1, [(BTreeMap::new(), 0)]);
    assert_eq!(points("retrans.otlp.refused").1, [(BTreeMap::new(), 0)]);
}

/// The collector is gone, and then back: what was queued arrives once, in order.
#[test]
fn an_outage_is_bounded_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let (_source, _stream, mut exporter) = start(address, 700);
    let event = |number: u32| -> Event { LINE.replace("4000", &number.to_string()).parse().expect("a line") };
    for number in 1..=1000 {
        exporter.push(&event(number), None);
    }
    let began = Instant::now();
    let (sent, error) = loop {
        let (sent, error) = exporter.sent();
        if error.is_some() || began.elapsed() > PATIENCE {
            break (sent, error);
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((sent.accepted, sent.dropped), (0, 300), "the queue is bounded");
    assert!(sent.failed >= 1 && error.as_ref().is_some_and(|error| error.contains(&address.to_string())), "{error:?}");
    // A failing request is repeated each interval, not at once.
    thread::sleep(Duration::from_millis(500));
    let attempts = exporter.sent().0.failed;
    assert!((2..20).contains(&attempts), "{attempts}");

    let (sender, requests) = mpsc::channel();
    collect(TcpListener::bind(address).expect("the same port"), "200 OK", sender);
    let mut received = Vec::new();
    while received.len() < 700 {
        let (path, body) = requests.recv_timeout(PATIENCE).expect("a request");
        if path == "/v1/logs" {
            received.extend(bodies(&body));
        }
    }
    let expected: Vec<_> = (1..=700).map(|number| event(number).to_string()).collect();
    assert_eq!(received, expected, "once, and in order");
    exporter.push(&event(2000), None);
    let sent = exporter.finish();
    assert_eq!((sent.accepted, sent.dropped), (701, 300));
}

#[test]
fn a_refusing_or_silent_collector_loses_nothing_silently() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, _requests) = mpsc::channel();
    collect(listener, "503 Service Unavailable", sender);
    let (_source, _stream, mut exporter) = start(address, 10);
    exporter.push(&LINE.parse().expect("a line"), None);
    let sent = exporter.finish();
    assert_eq!((sent.accepted, sent.dropped), (0, 1));
    assert!(exporter.sent().1.expect("an error").ends_with("the collector returned 503"));

    // It accepts connections, and never answers. The end limits the request that is in progress,
    // and all further ones.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (_source, _stream, mut exporter) = start(silent.local_addr().expect("an address"), 10);
    exporter.push(&LINE.parse().expect("a line"), None);
    let _connection = silent.accept().expect("a request");
    let began = Instant::now();
    let sent = exporter.finish();
    assert_eq!((sent.accepted, sent.dropped), (0, 1));
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
}

/// Each request has an answer, so the collector is reachable.
#[test]
fn events_arrive_if_the_collector_refuses_metrics() {
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 1, error_message: "too old".to_owned() };
    let partial = ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    for (status, content, message) in [
        ("404 Not Found", Vec::new(), "cannot send metrics to http://ADDRESS: the collector returned 404"),
        ("503 Busy", Vec::new(), "cannot send metrics to http://ADDRESS: the collector returned 503"),
        ("200 OK", partial, "cannot send metrics to http://ADDRESS: too old"),
    ] {
        let (address, _requests) = answering(move |path| match path {
            "/v1/metrics" => (status, content.clone()),
            _ => ("200 OK", Vec::new()),
        });
        let (_source, _stream, mut exporter) = start(address, 10);
        exporter.push(&LINE.parse().expect("a line"), None);
        wait_for(&exporter, |sent| sent.accepted == 1);
        exporter.push(&LINE.parse().expect("a line"), None);
        let sent = exporter.finish();
        assert_eq!((sent.accepted, sent.refused, sent.dropped), (2, 0, 0), "{status}");
        assert_eq!(exporter.sent().1, Some(message.replace("ADDRESS", &address.to_string())));
    }
}

/// Returns an exporter that has sent an event. Its collector answers the first logs with this
/// status, and all other requests with 202.
fn first_answer(status: &'static str) -> (MockSource, Stream, Exporter, Receiver<Request>) {
    let mut answers = 0;
    let (address, requests) = answering(move |path| {
        answers += usize::from(path == "/v1/logs");
        (if path == "/v1/logs" && answers == 1 { status } else { "202 Accepted" }, Vec::new())
    });
    let (source, stream, exporter) = start(address, 10);
    exporter.push(&LINE.parse().expect("a line"), None);
    wait_for(&exporter, |sent| sent.failed == 1);
    (source, stream, exporter, requests)
}

#[test]
fn a_temporary_status_repeats_a_batch() {
    for status in ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        let (_source, _stream, mut exporter, requests) = first_answer(status);
        wait_for(&exporter, |sent| sent.accepted == 1);
        let sent = exporter.finish();
        assert_eq!((sent.accepted, sent.refused, sent.dropped, sent.failed), (1, 0, 0, 1), "{status}");
        let logs = requests.try_iter().filter(|(path, _)| path == "/v1/logs").map(|(_, body)| bodies(&body));
        let line = LINE.parse::<Event>().expect("a line").to_string();
        assert_eq!(logs.collect::<Vec<_>>(), [[&*line], [&*line]], "{status}");
    }
}

#[test]
fn another_status_refuses_a_batch_and_blocks_no_other() {
    for status in ["301 Moved Permanently", "400 Bad Request", "413 Content Too Large", "500 Internal Server Error"] {
        let (_source, _stream, mut exporter, requests) = first_answer(status);
        wait_for(&exporter, |sent| sent.refused == 1);
        let event: Event = LINE.parse().expect("a line");
        let other: Event = LINE.replace("4000", "4001").parse().expect("a line");
        exporter.push(&other, None);
        let sent = exporter.finish();
        assert_eq!((sent.accepted, sent.refused, sent.dropped, sent.failed), (1, 1, 0, 1), "{status}");
        let requests: Vec<_> = requests.try_iter().collect();
        let logs = requests.iter().filter(|(path, _)| path == "/v1/logs").map(|(_, body)| bodies(body));
        assert_eq!(logs.collect::<Vec<_>>(), [[event.to_string()], [other.to_string()]], "{status}");
        // The metrics of the end were sent before the events.
        let (_, body) = requests.iter().rfind(|(path, _)| path == "/v1/metrics").expect("metrics");
        let request = ExportMetricsServiceRequest::decode(&**body).expect("metrics");
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let metric = metrics.iter().find(|metric| metric.name == "retrans.otlp.refused").expect("the metric");
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!(sum.data_points[0].value, Some(Number::AsInt(1)));
    }
}

/// Pushes events until the metrics were sent five times. Returns the number of requests with
/// metrics, and the number of events in each request with logs.
fn produce(burst: usize, capacity: usize) -> (usize, Vec<usize>) {
    let metrics = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&metrics);
    let (address, requests) = answering(move |path| {
        counter.fetch_add(usize::from(path == "/v1/metrics"), Ordering::Relaxed);
        // A round trip is longer than the time between two bursts.
        thread::sleep(Duration::from_millis(20));
        ("200 OK", Vec::new())
    });
    let (_source, _stream, mut exporter) = start(address, capacity);
    let event = LINE.parse().expect("a line");
    let began = Instant::now();
    while metrics.load(Ordering::Relaxed) < 5 {
        assert!(began.elapsed() < PATIENCE, "the metrics are not sent any more");
        (0..burst).for_each(|_| exporter.push(&event, None));
        thread::sleep(Duration::from_millis(2));
    }
    exporter.finish();
    let requests: Vec<_> = requests.try_iter().collect();
    let logs = requests.iter().filter(|(path, _)| path == "/v1/logs").map(|(_, body)| bodies(body).len());
    (metrics.load(Ordering::Relaxed), logs.collect())
}

/// An event arrives in each round trip, so the queue is never empty.
#[test]
fn a_steady_producer_delays_no_metrics_and_causes_no_small_requests() {
    let (metrics, logs) = produce(1, 100_000);
    let batches = logs.iter().sum::<usize>() / 512;
    assert!(logs.len() <= metrics + batches, "{metrics} {logs:?}");
    // More than a batch arrives in each round trip.
    produce(600, 2000);
}

/// A real collector prints what it received. `ROTEL` is the program.
#[test]
#[ignore = "requires a collector, run by make fleet-test"]
fn a_collector_receives_events_and_counters() {
    let program = std::env::var_os("ROTEL").expect("ROTEL, which make fleet-test sets");
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let (http, grpc) = (free(), free());
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let output = std::fs::File::create(&log).expect("a file");
    let mut child = std::process::Command::new(program)
        .args(["start", "--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
        .args([
            "--exporter",
            "blackhole",
            "--debug-log",
            "metrics",
            "--debug-log",
            "logs",
            "--debug-log-verbosity",
            "detailed",
        ])
        .current_dir(directory.path())
        .env("RUST_LOG", "info")
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .spawn()
        .expect("the collector starts");
    let began = Instant::now();
    while TcpStream::connect(http).is_err() {
        assert!(began.elapsed() < PATIENCE, "{}", std::fs::read_to_string(&log).unwrap_or_default());
        thread::sleep(Duration::from_millis(50));
    }
    let (source, _stream, mut exporter) = start(http, 10);
    source.push_result(RetransResult::Denied);
    exporter.push(&LINE.parse().expect("a line"), None);
    let sent = exporter.finish();
    assert_eq!((sent.accepted, sent.refused, sent.failed), (1, 0, 0), "{:?}", exporter.sent().1);
    let wanted =
        ["retrans.tcp.attempt", "network.peer.address", "192.0.2.7", "retrans.tcp.attempts", "retrans.boot_id"];
    let began = Instant::now();
    let text = loop {
        let text = std::fs::read_to_string(&log).expect("the log");
        if wanted.iter().all(|part| text.contains(part)) || began.elapsed() > PATIENCE {
            break text;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let _ = child.kill();
    let _ = child.wait();
    for part in wanted {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn every_event_of_a_live_agent_arrives() {
    privilege::check().expect("root");
    let pair = Pair::new().expect("two namespaces");
    let listener = pair.client().run(|| TcpListener::bind("127.0.0.1:4318")).expect("a free port in the namespace");
    let (sender, requests) = mpsc::channel();
    collect(listener, "200 OK", sender);
    let agent = Agent::start_with(pair.client(), &["--otlp", "http://127.0.0.1:4318", "--otlp-interval", "1"]);
    let agent = agent.expect("an agent");
    provoke(&pair, Faults { refused: 60, dropped: 30 }).expect("attempts");
    settled(&agent).expect("metrics");
    let printed = agent.stop().expect("a clean end");
    let received: Vec<_> = requests.try_iter().collect();
    let events: Vec<_> =
        received.iter().filter(|(path, _)| path == "/v1/logs").flat_map(|(_, body)| bodies(body)).collect();
    let sent = format!("\notlp accepted={} refused=0 dropped=0 failed=0\n", events.len());
    assert!(printed.contains(&sent), "{sent}{printed}");
    assert!(printed.contains(&format!(" delivered={}", events.len())), "{printed}");
    for event in &events {
        event.parse::<Event>().expect("the body is a key=value line");
    }
    assert!(!events.is_empty() && received.iter().any(|(path, _)| path == "/v1/metrics"));
}
