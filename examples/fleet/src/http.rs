// SPDX-License-Identifier: MIT OR Apache-2.0
//! An HTTP server for Prometheus: one thread, and a bounded number of connections.
//!
//! # Design
//!
//! A client that sends or reads slowly holds a connection, but cannot keep others out: if all
//! connections are in use, a new one ends the oldest. A scrape lasts about a millisecond, so it is
//! never the oldest one unless many connections arrive in that time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time;

/// The maximum number of connections at a time.
const CONNECTIONS: usize = 16;
/// The maximum time of a connection. It is closed after one response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a request's headers.
const BUFFER: usize = 16 << 10;
/// The pause after an error of `accept`, such as a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the metrics of a registry at `/metrics`, on a thread of its own, until the process ends.
/// Returns the thread, which ends only if it panics.
///
/// A client that accepts OpenMetrics, as Prometheus does, receives exemplars. Other clients receive
/// the older text format.
///
/// # Errors
///
/// Returns an error if the thread cannot be started.
pub fn serve(listener: TcpListener, registry: Registry) -> io::Result<thread::JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            // An error here means that there is no reactor, but `enable_all` created it.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                accept(listener, Arc::new(registry)).await;
            }
        });
    };
    thread::Builder::new().name("http".to_owned()).spawn(run)
}

async fn accept(listener: tokio::net::TcpListener, registry: Arc<Registry>) {
    let mut connections: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(CONNECTIONS);
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(BUFFER).timer(TokioTimer::new()).header_read_timeout(TIMEOUT);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            time::sleep(PAUSE).await;
            continue;
        };
        let registry = Arc::clone(&registry);
        let service = service_fn(move |request| {
            let response = respond(&request, &registry);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(tokio::spawn(async move {
            // The client sees the error, too.
            let _ = time::timeout(TIMEOUT, connection).await;
        }));
    }
}

fn respond(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let accepted = request.headers().get_all(ACCEPT);
    let open_metrics = accepted.iter().any(|value| value.to_str().is_ok_and(|value| value.contains(OPEN_METRICS)));
    let (status, content_type, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let (content_type, encode): (_, fn(&mut String, &Registry) -> _) = match open_metrics {
                true => (OPEN_METRICS_TYPE, text::encode),
                false => (PROMETHEUS_TYPE, prometheus_text::encode),
            };
            let mut body = String::new();
            match encode(&mut body, registry) {
                Ok(()) => (StatusCode::OK, content_type, body),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "cannot encode the metrics\n".to_owned()),
            }
        }
        (&Method::GET | &Method::HEAD, "/") => {
            (StatusCode::OK, "text/plain", "retrans-agent: see /metrics\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "method not allowed\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Instant;

    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut registry = Registry::default();
        registry.register("seen", "Help", Counter::<u64>::default());
        serve(listener, registry).expect("a thread");
        address
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn metrics_are_served_in_the_accepted_format() {
        let address = server();
        let plain = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(plain.starts_with("HTTP/1.1 200 OK\r\n") && plain.contains(PROMETHEUS_TYPE), "{plain}");
        assert!(plain.contains("\nseen_total 0\n") && !plain.contains("# EOF"), "{plain}");
        let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4";
        let open = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
        assert!(open.contains(OPEN_METRICS_TYPE) && open.ends_with("\nseen_total 0\n# EOF\n"), "{open}");
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn other_requests_are_refused() {
        let address = server();
        let status = |request: &str| ask(address, request).lines().next().unwrap_or_default().to_owned();
        assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /metrics/.. HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404 Not Found");
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(status(post), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status("\r\n\r\nnonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    }

    #[test]
    fn the_headers_of_a_request_are_bounded() {
        let address = server();
        let status = |length: usize| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
            let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(length));
            // The server answers and closes before it has read a request that is too long. Both
            // errors are the reset that follows the answer.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(status(BUFFER / 4), "HTTP/1.1 200 OK");
        assert_eq!(status(2 * BUFFER), "HTTP/1.1 431 Request Header Fields Too Large");
    }

    #[test]
    fn silent_clients_do_not_keep_others_out() {
        let address = server();
        let silent: Vec<_> = (0..3 * CONNECTIONS).map(|_| TcpStream::connect(address).expect("a connection")).collect();
        let began = Instant::now();
        for _ in 0..CONNECTIONS {
            let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
        assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
        drop(silent);
    }

    #[test]
    fn a_slow_client_is_disconnected() {
        let address = server();
        let mut slow = TcpStream::connect(address).expect("a connection");
        slow.set_read_timeout(Some(3 * TIMEOUT)).expect("a time");
        let began = Instant::now();
        slow.write_all(b"GET /metrics HTTP/1.1\r\n").expect("it is sent");
        let mut answer = String::new();
        // A reset, or the end of the connection.
        let _ = slow.read_to_string(&mut answer);
        let elapsed = began.elapsed();
        assert!(!answer.contains("200 OK") && elapsed < 2 * TIMEOUT, "{elapsed:?} {answer}");
    }
}
