// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device through which the kernel and the peer exchange packets.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, sendto, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::{Context, Netns, Result, link};

/// Returns whether TUN devices are available. The device node may exist without the driver.
pub(crate) fn tun_is_there() -> bool {
    File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

/// A device in a namespace, whose other end is this process. It is removed with this handle. This
/// happens at once, or soon after if its other end has a namespace, which the kernel removes
/// asynchronously.
pub(super) enum Device {
    Tun(SyncDevice),
    Wire(Wire),
}

impl Device {
    /// Creates a TUN device. If TUN is not available, creates a link whose other end is in its own
    /// namespace.
    pub(super) fn new(ns: &Netns, name: &str) -> Result<Self> {
        if !tun_is_there() {
            return Wire::new(ns, name).map(Self::Wire);
        }
        let device = ns.run(|| DeviceBuilder::new().name(name).enable(false).build_sync());
        let device = device.with_context(|| format!("cannot create the TUN device {name}"))?;
        device.set_nonblocking(true).context("cannot set a TUN device non-blocking")?;
        Ok(Self::Tun(device))
    }

    /// Returns a size that no packet exceeds.
    pub(super) fn largest(&self) -> usize {
        match self {
            // The MTU is 1500, and the kernel segments larger packets.
            Self::Tun(_) => 2048,
            Self::Wire(_) => 1 << 17,
        }
    }

    /// Returns the next packet.
    ///
    /// # Errors
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no packet.
    pub(super) fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tun(device) => device.recv(packet),
            Self::Wire(wire) => wire.receive(packet),
        }
    }

    /// Sends a packet to the kernel, and returns the number of bytes that it accepted.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tun(device) => device.send(packet),
            Self::Wire(wire) => wire.send(packet),
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tun(device) => device.as_fd(),
            Self::Wire(wire) => wire.socket.as_fd(),
        }
    }
}

/// A packet socket in a namespace that contains only the other end of the link.
///
/// Packets arrive in the form in which they left TCP: a large one is not segmented, and has no
/// checksum.
pub(super) struct Wire {
    socket: Socket,
    /// The link-layer address of the first sender, to which packets are sent.
    client: OnceLock<SocketAddrAny>,
    _far: Netns,
}

impl Wire {
    fn new(ns: &Netns, name: &str) -> Result<Self> {
        /// `ETH_P_ALL`.
        const ALL: u16 = 3;
        let far = Netns::new()?;
        // The namespace sends nothing on its own.
        far.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        link::create_veth_pair(ns, &far.path(), name)?;
        // Packets are not addressed to the other end, so its kernel ignores them.
        ns.command("ip", &["link", "set", "dev", name, "arp", "off"])?;
        far.command("ip", &["link", "set", "dev", name, "up"])?;
        let protocol = Protocol::from(i32::from(ALL.to_be()));
        let socket = far.run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)));
        let socket = socket.context("cannot open a packet socket")?;
        // Room for everything that a test sends before it reads.
        sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).context("cannot set SO_RCVBUFFORCE")?;
        socket.set_nonblocking(true).context("cannot set a socket non-blocking")?;
        Ok(Self { socket, client: OnceLock::new(), _far: far })
    }

    fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        let (len, _, from) = recvfrom(&self.socket, packet, RecvFlags::empty())?;
        if let Some(from) = from {
            self.client.get_or_init(|| from);
        }
        Ok(len)
    }

    fn send(&self, packet: &[u8]) -> io::Result<usize> {
        let client = self.client.get().ok_or(Errno::DESTADDRREQ)?;
        Ok(sendto(&self.socket, packet, SendFlags::empty(), client)?)
    }
}
