// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP connections across a pair, with access to both ends.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::connect_unspec;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::wait::PATIENCE;
use crate::{Context, Netns, Pair, Result};

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
    /// AF_INET6 with IPv4-mapped addresses: IPv4 on the wire.
    Mapped,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];

    /// Returns whether the packets are IPv4.
    pub fn is_ipv4_on_the_wire(self) -> bool {
        !matches!(self, Self::V6)
    }
}

/// One end of a connection. IPv4-mapped addresses are represented as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// SO_COOKIE.
    pub cookie: u64,
    /// The local address and port.
    pub local: SocketAddr,
    /// The remote address and port.
    pub remote: SocketAddr,
}

/// An established connection from the client's namespace to the server's.
///
/// It is always closed with a reset: by [`abort`](Conn::abort), on drop, or when the process ends.
/// So no FIN is sent, and no FIN can be retransmitted. Both ends run Reno without pacing, send each
/// write at once (TCP_NODELAY), and limit a blocking read or write to [`PATIENCE`].
#[derive(Debug)]
pub struct Conn {
    client: TcpStream,
    server: TcpStream,
    client_end: Endpoint,
    server_end: Endpoint,
}

impl Conn {
    /// Connects to a port that the kernel chooses.
    ///
    /// # Errors
    /// Returns an error if a socket call fails or the handshake is not complete before [`PATIENCE`]
    /// ends.
    pub fn open(pair: &Pair, family: Family) -> Result<Self> {
        Self::open_on(pair, family, 0)
    }

    /// Connects to this port of the server.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open), and an error if the port is in use.
    pub fn open_on(pair: &Pair, family: Family, port: u16) -> Result<Self> {
        let (listener, address) = listen(pair, family, port)?;
        let (client, _) = unconnected(pair, family)?;
        client
            .connect_timeout(&SockAddr::from(address), PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        let server = accept(&listener)?;
        let client_end = endpoint(&client)?;
        let server_end = endpoint(&server)?;
        Ok(Self { client: client.into(), server: server.into(), client_end, server_end })
    }

    /// Returns the client's end, a blocking stream.
    pub fn client(&self) -> &TcpStream {
        &self.client
    }

    /// Returns the server's end, a blocking stream.
    pub fn server(&self) -> &TcpStream {
        &self.server
    }

    /// Returns the cookie and addresses of the client's end.
    pub fn client_end(&self) -> Endpoint {
        self.client_end
    }

    /// Returns the cookie and addresses of the server's end.
    pub fn server_end(&self) -> Endpoint {
        self.server_end
    }

    /// Resets the connection from both ends.
    pub fn abort(self) {}
}

impl Drop for Conn {
    fn drop(&mut self) {
        reset(&self.client);
        reset(&self.server);
    }
}

/// Resets a connection or closes a listener at once. A close is not enough: while another thread
/// starts a program, its copy of the descriptor keeps the socket open, and the socket's data is
/// retransmitted.
pub(crate) fn reset(socket: impl AsFd) {
    // A socket that is not connected cannot be reset, and contains no data to send.
    let _ = connect_unspec(socket);
}

/// Returns a listening socket of the server, and the address for a client of the same family.
pub(crate) fn listen(pair: &Pair, family: Family, port: u16) -> Result<(Socket, SocketAddr)> {
    let address = SocketAddr::new(pair.server_addr(family), port);
    let listener = socket(pair.server(), family)?;
    listener
        .bind(&address.into())
        .and_then(|()| listener.listen(16))
        .with_context(|| format!("cannot listen on {address}"))?;
    let address = address_of(listener.local_addr())?;
    Ok((listener, address))
}

/// Returns a client's socket that is bound but not connected.
pub(crate) fn unconnected(pair: &Pair, family: Family) -> Result<(Socket, SocketAddr)> {
    let address = SocketAddr::new(pair.client_addr(family), 0);
    let client = socket(pair.client(), family)?;
    client.bind(&address.into()).with_context(|| format!("cannot bind to {address}"))?;
    let address = address_of(client.local_addr())?;
    Ok((client, address))
}

/// Sends the SYN without waiting for the answer. The socket is non-blocking afterwards.
///
/// # Errors
/// Returns an error if the connection fails at once.
pub fn connect_later(client: &Socket, target: SocketAddr) -> Result<()> {
    client.set_nonblocking(true).context("cannot set a socket non-blocking")?;
    in_progress(client.connect(&target.into()))
}

/// Checks that a non-blocking connect is in progress.
pub(crate) fn in_progress(result: io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(()),
        other => other.context("cannot start to connect"),
    }
}

/// Returns the next connection. It inherits every option of the listener.
pub(crate) fn accept(listener: &Socket) -> Result<Socket> {
    // The listener's receive timeout limits this call too.
    Ok(listener.accept().context("cannot accept a connection")?.0)
}

/// Returns the cookie and addresses of a connected socket.
pub(crate) fn endpoint(socket: &Socket) -> Result<Endpoint> {
    Ok(Endpoint {
        cookie: cookie(socket)?,
        local: canonical(address_of(socket.local_addr())?),
        remote: canonical(address_of(socket.peer_addr())?),
    })
}

/// SO_COOKIE.
pub(crate) fn cookie(socket: &Socket) -> Result<u64> {
    socket.cookie().context("cannot read SO_COOKIE")
}

/// Returns a mapped address as IPv4, and any other unchanged.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn address_of(address: io::Result<SockAddr>) -> Result<SocketAddr> {
    address.ok().and_then(|a| a.as_socket()).ok_or_else(|| crate::Error::new("cannot read a socket's address"))
}

/// Creates a socket in `ns`. It stays there; any thread can use it.
pub(crate) fn socket(ns: &Netns, family: Family) -> Result<Socket> {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = ns.run(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP))).context("cannot create a socket")?;
    prepare(&socket).context("cannot set options of a socket")?;
    Ok(socket)
}

fn prepare(socket: &Socket) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // Every kernel has Reno, and it needs no privilege. The default algorithm may pace, or model
    // the path.
    socket.set_tcp_congestion(b"reno")?;
    socket.set_tcp_nodelay(true)?;
    // With a zero linger time every close is a reset, even if the process was killed.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}
