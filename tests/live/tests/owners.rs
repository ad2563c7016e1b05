// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner of a socket is the process that connected or accepted it, otherwise the only process
//! that holds it, otherwise absent. It is never a process that merely runs at the time.
//!
//! The other processes are this program again, with commands on standard input. The tests run one
//! at a time, since some of them keep the CPUs busy.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retrans_lab::observe::{attachment, concerns, drain, ends, filter, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Error, Family, Fault, Netns, Outcome, Packets, Pair, Result, Scenario, privilege};
use retrans_sdk::attach::{OwnerHooks, Support};
use retrans_sdk::event::OwnerSource;
use retrans_sdk::format::Line;
use retrans_sdk::stream::Live;
use retrans_sdk::{ErrorKind, Event, FieldSet, RetransKind, Stream};
use rustix::io::{FdFlags, fcntl_setfd};
use socket2::SockRef;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The environment variable of a process that executes commands.
const ORDERS: &str = "RETRANS_TESTS_ORDERS";

/// Another process in a namespace. It ends with its standard input.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(ns: &Netns) -> Result<Self> {
        Self::start_by(ns, Command::new(env::current_exe().context("cannot find this program")?))
    }

    /// Starts it as process 1 of a new PID namespace.
    fn start_nested(ns: &Netns) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(env::current_exe().context("cannot find this program")?);
        Self::start_by(ns, command)
    }

    fn start_by(ns: &Netns, mut command: Command) -> Result<Self> {
        command
            .args(["--ignored", "--exact", "owners_are_reported_only_if_requested", "--nocapture", "--test-threads=1"])
            .env(ORDERS, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ns.run(|| command.spawn()).context("cannot start another process")?;
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Ok(Self { orders: child.stdin.take(), child, answers })
    }

    /// Sends a command, and returns the answer.
    fn order(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().expect("not ended");
        writeln!(orders, "{order}").context("cannot give an order")?;
        let mut line = String::new();
        while self.answers.read_line(&mut line).context("no answer")? > 0 {
            // The test harness printed the beginning of the line.
            if let Some((_, answer)) = line.split_once("answer:") {
                return Ok(answer.trim().to_owned());
            }
            line.clear();
        }
        Err(Error::new(format!("no answer to `{order}`")))
    }

    fn address(&mut self, order: &str) -> Result<SocketAddr> {
        let answer = self.order(order)?;
        answer.parse().with_context(|| format!("{order}: {answer}"))
    }

    fn name(&mut self, comm: &[u8]) -> Result<()> {
        let comm: Vec<_> = comm.iter().map(|byte| format!("{byte:02x}")).collect();
        self.order(&format!("name {}", comm.join(""))).map(drop)
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn end(mut self) -> Result<()> {
        drop(self.orders.take());
        self.child.wait().context("cannot wait for a process").map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// Executes the commands.
fn obey() -> Result<()> {
    let (mut listener, mut stream, mut heirs) = (None::<TcpListener>, None::<TcpStream>, Vec::new());
    let mut watching = None::<Stream>;
    for order in std::io::stdin().lines() {
        let order = order.context("no order")?;
        let (what, about) = order.split_once(' ').unwrap_or((&order, ""));
        let address = || about.parse::<SocketAddr>().context("no address");
        let answer = match what {
            "name" => {
                let byte = |at: usize| u8::from_str_radix(&about[at..at + 2], 16).expect("two digits");
                let comm: Vec<u8> = (0..about.len()).step_by(2).map(byte).collect();
                fs::write("/proc/self/comm", comm).context("cannot change the name")?;
                String::new()
            }
            "connect" => {
                let connected = TcpStream::connect(address()?).context("cannot connect")?;
                let local = connected.local_addr().context("no address")?;
                stream = Some(connected);
                local.to_string()
            }
            "listen" => {
                let listening = TcpListener::bind(address()?).context("cannot listen")?;
                let local = listening.local_addr().context("no address")?;
                listener = Some(listening);
                local.to_string()
            }
            "accept" => {
                let (accepted, peer) = listener.as_ref().expect("it listens").accept().context("cannot accept")?;
                stream = Some(accepted);
                peer.to_string()
            }
            "send" => {
                stream.as_mut().expect("it is connected").write_all(&[1; 100]).context("cannot send")?;
                String::new()
            }
            "bequeath" => {
                // Passes the socket to a program that ignores it.
                let inherited = stream.as_ref().expect("it is connected").as_fd();
                fcntl_setfd(inherited, FdFlags::empty()).context("cannot have it inherited")?;
                let heir = Command::new("sleep").arg("60").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
                fcntl_setfd(inherited, FdFlags::CLOEXEC).context("cannot have it not inherited")?;
                heirs.push(Heir(heir.context("cannot start another process")?));
                heirs[heirs.len() - 1].0.id().to_string()
            }
            "close" => {
                stream = None;
                String::new()
            }
            // The PID in the PID namespace of /proc, and the PID in the process's own.
            "numbers" => {
                let number = fs::read_link("/proc/self").context("no /proc")?;
                format!("{} {}", number.display(), std::process::id())
            }
            "watch" => {
                let opened = Stream::builder().resolve_owners().filter(filter(about)?).open();
                attachment(watching.insert(opened.context("cannot open a stream")?)).to_string()
            }
            "try" => {
                // No host answers.
                let tried = TcpStream::connect_timeout(&address()?, Duration::from_millis(1500));
                tried.err().map(|error| error.kind().to_string()).unwrap_or_default()
            }
            "watched" => {
                let watching = watching.as_mut().expect("it watches");
                let hooks = watching.live().and_then(Live::owner_hooks).expect("they are asked for").to_string();
                let reported = |event: Event| format!(" {}:{}", event.dport, event.pid.map_or(0, |pid| pid));
                hooks + &drain(watching)?.into_iter().map(reported).collect::<String>()
            }
            "end" => {
                // The tester becomes the parent of the orphaned processes.
                std::mem::forget(std::mem::take(&mut heirs));
                println!("answer:");
                std::process::exit(0);
            }
            _ => return Err(Error::new(format!("unknown command `{order}`"))),
        };
        println!("answer:{answer}");
    }
    if let Some(stream) = &stream {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    Ok(())
}

struct Heir(Child);

impl Drop for Heir {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Busy processes, which softirqs interrupt.
struct Bystanders(Vec<Child>);

impl Bystanders {
    fn start() -> Result<Self> {
        let spin = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().context("cannot run `sh`");
        Ok(Self((0..4).map(spin).collect::<Result<_>>()?))
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn open(pair: &Pair) -> Result<Stream> {
    open_with(pair, FieldSet::default())
}

fn open_with(pair: &Pair, fields: FieldSet) -> Result<Stream> {
    let netns = format!("netns={},{}", pair.client().inode(), pair.server().inode());
    Stream::builder().resolve_owners().fields(fields).filter(filter(&netns)?).open().context("cannot open a stream")
}

fn hooks(stream: &Stream) -> OwnerHooks {
    stream.live().and_then(Live::owner_hooks).expect("they are asked for").clone()
}

/// Returns the expected source of the owner: this hook, otherwise the file-descriptor scan,
/// otherwise none.
fn known_by(seen: &Support, source: OwnerSource, hooks: &OwnerHooks) -> Option<OwnerSource> {
    if seen.is_available() { Some(source) } else { by_scan(hooks) }
}

fn by_scan(hooks: &OwnerHooks) -> Option<OwnerSource> {
    hooks.scan.is_available().then_some(OwnerSource::Holder)
}

fn owner(event: &Event) -> Option<(OwnerSource, u32, Vec<u8>)> {
    let comm = event.comm.map(|comm| comm.as_bytes().to_vec());
    match (event.owner, event.pid, comm) {
        (Some(owner), Some(pid), Some(comm)) => Some((owner, pid, comm)),
        (None, None, None) => None,
        _ => panic!("owner, pid and comm are not present together: {event}"),
    }
}

/// Returns the next events, at least two, of the connection with this local end.
fn events_of(stream: &mut Stream, local: SocketAddr) -> Result<Vec<Event>> {
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let is_of = |event: &Event| ends(event).0 == local;
    let events = until(stream, PATIENCE, |events| events.iter().filter(|event| is_of(event)).count() > 1)?;
    Ok(events.into_iter().filter(is_of).collect())
}

/// Drops what is sent to this port of a host.
fn lose(port: u16, at: &Netns) -> Result<Fault> {
    Packets::input().dport(port).drop_in(at)
}

/// Opens a listener of the server in this process.
fn listen(pair: &Pair, family: Family) -> Result<TcpListener> {
    let address = SocketAddr::new(pair.server_addr(family), 0);
    pair.server().run(|| TcpListener::bind(address)).context("cannot listen")
}

fn mapped(address: SocketAddr, family: Family) -> SocketAddr {
    match (address.ip(), family) {
        (IpAddr::V4(v4), Family::Mapped) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_connecting_process_is_the_owner() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    // The longest possible name.
    const COMM: &[u8] = b"a b=%,\"\xff\xc3\xa9\\-\x01\x7f~";
    const PRINTED: &str = " comm=a%20b%3D%25%2C%22%FF%C3%A9\\-%01%7F~ ";
    let _bystanders = Bystanders::start()?;
    for family in Family::ALL {
        let pair = Pair::new()?;
        let mut stream = open(&pair)?;
        let hooks = hooks(&stream);
        let listener = listen(&pair, family)?;
        let target = mapped(listener.local_addr().context("no address")?, family);
        let mut process = Process::start(pair.client())?;
        process.name(COMM)?;
        let local = process.address(&format!("connect {target}"))?;
        let _accepted = listener.accept().context("cannot accept")?;
        let fault = lose(target.port(), pair.server())?;
        process.order("send")?;
        let events = events_of(&mut stream, local)?;
        let expected = known_by(&hooks.connect, OwnerSource::Connect, &hooks);
        for event in &events {
            assert_eq!(owner(event), expected.map(|source| (source, process.id(), COMM.to_vec())), "{event}");
            let line: Line = event.to_string().parse().expect("a line");
            assert_eq!((line.event, line.to_string()), (*event, event.to_string()));
            assert_eq!(line.to_string().contains(PRINTED), expected.is_some(), "{line}");
            let by: retrans_sdk::Filter = format!("owner!=- pid={} comm!=sh", process.id()).parse().expect("a filter");
            assert_eq!(by.matches(event), expected.is_some());
        }
        process.end()?;
        fault.lift()?;
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_accepting_process_is_the_owner() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let _bystanders = Bystanders::start()?;
    // The result does not depend on the other fields.
    for (family, fields) in [(Family::V4, FieldSet::default()), (Family::V6, FieldSet::none())] {
        let pair = Pair::new()?;
        let mut stream = open_with(&pair, fields)?;
        let hooks = hooks(&stream);
        let (mut server, mut client) = (Process::start(pair.server())?, Process::start(pair.client())?);
        server.name(b"server")?;
        client.name(b"client")?;
        let at = server.address(&format!("listen {}", SocketAddr::new(pair.server_addr(family), 0)))?;
        let peer = client.address(&format!("connect {at}"))?;
        assert_eq!(server.address("accept")?, peer);
        let fault = lose(peer.port(), pair.client())?;
        server.order("send")?;
        let events = events_of(&mut stream, at)?;
        let expected = known_by(&hooks.accept, OwnerSource::Accept, &hooks);
        for event in &events {
            assert_eq!(owner(event), expected.map(|source| (source, server.id(), b"server".to_vec())), "{event}");
            // With owners, events have cookies.
            assert_eq!(event.cookie.is_some(), fields.contains("cookie") && expected.is_some(), "{event}");
        }
        server.end()?;
        client.end()?;
        fault.lift()?;
    }
    Ok(())
}

/// During the handshake the process that sent a SYN is known. The socket of a SYN-ACK has no
/// process yet, except possibly with Fast Open.
#[test]
#[ignore = "live: needs root, run by make test"]
fn owners_during_a_handshake() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let _bystanders = Bystanders::start()?;
    for outcome in [Outcome::Syn, Outcome::Synack, Outcome::SynackFastopen] {
        let pair = Pair::new()?;
        let mut stream = open(&pair)?;
        let hooks = hooks(&stream);
        let scenario = Scenario::run(&pair, Family::V4, outcome)?;
        let subject = scenario.subject();
        let is_of = |event: &Event| concerns(&subject, event);
        let mut events = until(&mut stream, PATIENCE, |events| events.iter().any(is_of))?;
        scenario.finish()?;
        events.retain(is_of);
        let source = match outcome {
            Outcome::Syn => known_by(&hooks.connect, OwnerSource::Connect, &hooks),
            Outcome::Synack => None,
            _ => known_by(&hooks.accept, OwnerSource::Accept, &hooks),
        };
        for event in &events {
            assert_eq!(
                owner(event).map(|(source, pid, _)| (source, pid)),
                source.map(|s| (s, std::process::id())),
                "{event}"
            );
            assert_eq!(event.kind == RetransKind::Syn, outcome == Outcome::Syn);
        }
    }
    Ok(())
}

/// Sockets that are older than the stream: a socket that a single process holds, one passed to
/// another process, one that two processes hold, one that no process holds any more.
#[test]
#[ignore = "live: needs root, run by make test"]
fn an_existing_socket_belongs_to_its_only_holder() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let _bystanders = Bystanders::start()?;
    let pair = Pair::new()?;
    // The lab's setting makes the kernel destroy sockets that no process holds.
    let _patient = pair.client().sysctl_scoped("net/ipv4/tcp_orphan_retries", "8")?;
    let listener = listen(&pair, Family::V4)?;
    let target = listener.local_addr().context("no address")?;
    let mut accepted = Vec::new();
    let mut connected = || -> Result<_> {
        let mut process = Process::start(pair.client())?;
        process.name(b"older")?;
        let local = process.address(&format!("connect {target}"))?;
        accepted.push(listener.accept().context("cannot accept")?);
        Ok((process, local))
    };
    let (mut held, mut shared, mut handed, mut orphaned) = (connected()?, connected()?, connected()?, connected()?);
    let _fault = lose(target.port(), pair.server())?;
    for (process, _) in [&mut held, &mut shared, &mut handed, &mut orphaned] {
        process.order("send")?;
    }
    shared.0.order("bequeath")?;
    let heir = handed.0.order("bequeath")?.parse().expect("a number");
    handed.0.order("close")?;
    orphaned.0.order("close")?;

    let mut stream = open(&pair)?;
    let by_scan = by_scan(&hooks(&stream));
    let all = [&held, &shared, &handed, &orphaned].map(|(_, local)| *local);
    let events = until(&mut stream, PATIENCE, |events| {
        all.iter().all(|local| events.iter().filter(|event| ends(event).0 == *local).count() > 1)
    })?;
    for event in &events {
        let expected = match all.iter().position(|local| ends(event).0 == *local) {
            Some(0) => by_scan.map(|source| (source, held.0.id(), b"older".to_vec())),
            Some(2) => by_scan.map(|source| (source, heir, b"sleep".to_vec())),
            Some(_) => None,
            None => continue,
        };
        assert_eq!(owner(event), expected, "{event}");
    }
    Ok(())
}

/// The owner learned at connect remains, although the process has passed the socket on and exited.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_connecting_process_is_reported_after_its_exit() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let mut stream = open(&pair)?;
    let hooks = hooks(&stream);
    let listener = listen(&pair, Family::V4)?;
    let target = listener.local_addr().context("no address")?;
    let mut process = Process::start(pair.client())?;
    process.name(b"gone")?;
    let local = process.address(&format!("connect {target}"))?;
    let (accepted, _) = listener.accept().context("cannot accept")?;
    let heir: u32 = process.order("bequeath")?.parse().expect("a number");
    let fault = lose(target.port(), pair.server())?;
    process.order("send")?;
    process.order("end")?;
    let id = process.id();
    process.end()?;
    assert!(!fs::exists(format!("/proc/{id}")).context("cannot look")?);
    drain(&mut stream)?;
    let events = events_of(&mut stream, local)?;
    let heir_id = rustix::process::Pid::from_raw(heir as i32).expect("a number");
    let expected = if hooks.connect.is_available() {
        Some((OwnerSource::Connect, id, b"gone".to_vec()))
    } else {
        by_scan(&hooks).map(|source| (source, heir, b"sleep".to_vec()))
    };
    let reported: Vec<_> = events.iter().map(owner).collect();
    drop(accepted);
    rustix::process::kill_process(heir_id, rustix::process::Signal::KILL).context("cannot end a process")?;
    fault.lift()?;
    assert!(reported.iter().all(|reported| *reported == expected), "{reported:?} instead of {expected:?}");
    Ok(())
}

/// Closed sockets free their entries: more connections than the table has entries do not evict a
/// connection that stays open.
#[test]
#[ignore = "live: needs root, run by make test"]
fn short_connections_do_not_evict_a_long_one() -> Result<()> {
    const CONNECTIONS: usize = 60_000;
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let mut stream = open(&pair)?;
    let hooks = hooks(&stream);
    let listener = listen(&pair, Family::V4)?;
    let target = listener.local_addr().context("no address")?;
    let mut process = Process::start(pair.client())?;
    process.name(b"long")?;
    let local = process.address(&format!("connect {target}"))?;
    let _long = listener.accept().context("cannot accept")?;
    pair.client().run(|| {
        for _ in 0..CONNECTIONS {
            let connected = TcpStream::connect(target).context("cannot connect")?;
            let (accepted, _) = listener.accept().context("cannot accept")?;
            for end in [&connected, &accepted] {
                // Closed with a reset, so that its port is free again.
                SockRef::from(end).set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
            }
        }
        Result::Ok(())
    })?;
    let fault = lose(target.port(), pair.server())?;
    process.order("send")?;
    let expected = known_by(&hooks.connect, OwnerSource::Connect, &hooks);
    for event in events_of(&mut stream, local)? {
        assert_eq!(owner(&event), expected.map(|source| (source, process.id(), b"long".to_vec())), "{event}");
    }
    process.end()?;
    fault.lift()
}

/// PIDs belong to the PID namespace of the process that opened the stream. A process without a PID
/// there is not reported.
#[test]
#[ignore = "live: needs root, run by make test"]
fn pids_are_of_the_pid_namespace_that_opened_the_stream() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let mut stream = open(&pair)?;
    let connect = hooks(&stream).connect.is_available();
    let mut nested = Process::start_nested(pair.client())?;
    let numbers = nested.order("numbers")?;
    let (here, there) = numbers.split_once(' ').expect("two numbers");
    let (here, there): (u32, u32) = (here.parse().expect("a number"), there.parse().expect("a number"));
    assert_eq!(there, 1);
    assert_ne!(here, there);
    nested.order(&format!("watch netns={}", pair.client().inode()))?;

    // Two ports to which SYNs are lost.
    let [ours, theirs] = [4001, 4002];
    let _faults = [lose(ours, pair.server())?, lose(theirs, pair.server())?];
    let to = |port| SocketAddr::new(pair.server_addr(Family::V4), port);
    let mut outside = Process::start(pair.client())?;
    outside.order(&format!("try {}", to(ours)))?;
    nested.order(&format!("try {}", to(theirs)))?;

    let reported = nested.order("watched")?;
    let mut reported: Vec<_> = reported.split(' ').collect();
    assert_eq!(reported.remove(0).starts_with("owners=connect"), connect);
    reported.sort_unstable();
    reported.dedup();
    assert_eq!(reported, [format!("{ours}:0"), format!("{theirs}:{}", if connect { there } else { 0 })]);
    let events = drain(&mut stream)?;
    assert!([ours, theirs].iter().all(|port| events.iter().any(|event| event.dport == *port)), "{events:?}");
    for event in events {
        let pid = if event.dport == ours { outside.id() } else { here };
        assert_eq!(event.pid, connect.then_some(pid), "{event}");
    }
    Ok(())
}

/// Owners are absent unless they are requested, and the kernel filter rejects their keys. Closed
/// streams leave no descriptor. With `ORDERS` set this test is one of the other processes.
#[test]
#[ignore = "live: needs root, run by make test"]
fn owners_are_reported_only_if_requested() -> Result<()> {
    if env::var_os(ORDERS).is_some() {
        return obey();
    }
    let _turn = turn();
    privilege::check()?;
    let descriptors = || fs::read_dir("/proc/self/fd").map(Iterator::count).context("cannot read /proc/self/fd");
    let before = descriptors()?;
    let pair = Pair::new()?;
    let netns = format!("netns={}", pair.client().inode());
    let mut plain = Stream::builder().filter(filter(&netns)?).open().context("cannot open a stream")?;
    assert_eq!(plain.live().and_then(Live::owner_hooks), None);
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
    let events = until(&mut plain, PATIENCE, |events| !events.is_empty())?;
    scenario.finish()?;
    assert!(events.iter().all(|event| owner(event).is_none()), "{events:?}");

    for text in ["pid=1", "dport=1 --or comm!=sh", "owner=connect"] {
        let error = Stream::builder().resolve_owners().filter(filter(text)?).open().expect_err("not in the kernel");
        assert_eq!(error.kind(), ErrorKind::Filter, "{error}");
        let term = text.rsplit(' ').next().expect("a term");
        assert!(error.to_string().starts_with(&format!("`{term}` cannot be evaluated in the kernel")), "{error}");
    }
    drop((plain, pair));
    drop(Stream::builder().resolve_owners().open().context("cannot open a stream")?);
    assert_eq!(descriptors()?, before);
    Ok(())
}
