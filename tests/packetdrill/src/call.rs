// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls of a script, interpreted.

use std::time::Duration;

use nix::libc;
use retrans_lab::{Error, Result};

/// An argument, as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    /// `...`: anything.
    Any,
    Int(i64),
    Name(String),
    Or(Vec<Expr>),
    Bytes(Vec<u8>),
    List(Vec<Expr>),
    Struct(Vec<Field>),
}

/// A field of a structure. The name is empty if there is no name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: Expr,
}

/// The longest buffer of a call.
const LONGEST: usize = 16 << 20;

/// A system call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The operation.
    pub(crate) op: Op,
    /// The call, as written.
    pub text: String,
    /// The expected result, if it matters. A negative one is an error.
    pub result: Option<i64>,
    /// The name of the expected error, if the script states it.
    pub errno: Option<String>,
}

/// The number by which a script refers to a file descriptor.
pub(crate) type Fd = i64;

/// A system call with its arguments. Values that the call returns through its arguments are not
/// compared, so they are left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Socket {
        kind: i32,
    },
    Bind {
        fd: Fd,
    },
    Listen {
        fd: Fd,
        backlog: i32,
    },
    Accept {
        fd: Fd,
    },
    Connect {
        fd: Fd,
    },
    Disconnect {
        fd: Fd,
    },
    /// Any call that sends. Without lengths the buffer is a null pointer.
    Send {
        fd: Fd,
        lens: Option<Vec<usize>>,
        flags: i32,
        connects: bool,
    },
    /// Any call that receives. Without a length the buffer is a null pointer.
    Receive {
        fd: Fd,
        len: Option<usize>,
        flags: i32,
    },
    SetOption {
        fd: Fd,
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    GetOption {
        fd: Fd,
        level: i32,
        name: i32,
    },
    GetFlags {
        fd: Fd,
    },
    SetFlags {
        fd: Fd,
        flags: i32,
    },
    Ioctl {
        fd: Fd,
        request: i32,
    },
    Shutdown {
        fd: Fd,
        how: i32,
    },
    Close {
        fd: Fd,
    },
    Poll {
        fd: Fd,
        events: i32,
        limit: Duration,
    },
    EpollCreate,
    EpollControl {
        epoll: Fd,
        action: i32,
        fd: Fd,
        events: i32,
    },
    EpollWait {
        epoll: Fd,
        limit: Duration,
    },
    Pipe {
        ends: [Fd; 2],
    },
    Open {
        path: Vec<u8>,
    },
    Sendfile {
        to: Fd,
        from: Fd,
        len: usize,
    },
    Splice {
        from: Fd,
        to: Fd,
        len: usize,
    },
}

impl Call {
    /// Interprets a call.
    ///
    /// # Errors
    /// Returns an error if the call or an argument is not supported.
    pub(crate) fn new(
        name: &str,
        arguments: Vec<Expr>,
        text: String,
        result: Option<i64>,
        errno: Option<String>,
    ) -> Result<Self> {
        let op = op(name, &Arguments(arguments)).map_err(|error| Error::new(format!("`{text}`: {error}")))?;
        Ok(Self { op, text, result, errno })
    }
}

fn op(name: &str, of: &Arguments) -> Result<Op> {
    let fd = || of.int(0);
    Ok(match name {
        "socket" => match of.get(2)? {
            Expr::Name(protocol) if protocol == "IPPROTO_MPTCP" => {
                return Err(Error::new("a socket of MPTCP is not supported"));
            }
            _ => Op::Socket { kind: of.int32(1)? },
        },
        "bind" => Op::Bind { fd: fd()? },
        "listen" => Op::Listen { fd: fd()?, backlog: of.int32(1)? },
        "accept" => Op::Accept { fd: fd()? },
        "connect" => match of.get(1)? {
            Expr::Name(family) if family == "AF_UNSPEC" => Op::Disconnect { fd: fd()? },
            _ => Op::Connect { fd: fd()? },
        },
        "write" => Op::Send { fd: fd()?, lens: of.buffer(1, 2)?.map(|len| vec![len]), flags: 0, connects: false },
        "send" | "sendto" => {
            let flags = of.int32(3)?;
            let connects = name == "sendto" && flags & libc::MSG_FASTOPEN != 0;
            Op::Send { fd: fd()?, lens: of.buffer(1, 2)?.map(|len| vec![len]), flags, connects }
        }
        "sendmsg" => {
            let flags = of.int32(2)?;
            Op::Send { fd: fd()?, lens: Some(of.iov(1)?), flags, connects: flags & libc::MSG_FASTOPEN != 0 }
        }
        "read" => Op::Receive { fd: fd()?, len: of.buffer(1, 2)?, flags: 0 },
        "recv" | "recvfrom" => Op::Receive { fd: fd()?, len: of.buffer(1, 2)?, flags: of.int32(3)? },
        "recvmsg" => {
            Op::Receive { fd: fd()?, len: Some(length(of.iov(1)?.iter().sum::<usize>() as i64)?), flags: of.int32(2)? }
        }
        "setsockopt" => {
            let mut value = of.bytes(3)?;
            value.resize(of.length(4)?, 0);
            Op::SetOption { fd: fd()?, level: of.int32(1)?, name: of.int32(2)?, value }
        }
        "getsockopt" => Op::GetOption { fd: fd()?, level: of.int32(1)?, name: of.int32(2)? },
        "fcntl" => match of.get(1)? {
            Expr::Name(command) if command == "F_GETFL" => Op::GetFlags { fd: fd()? },
            Expr::Name(command) if command == "F_SETFL" => Op::SetFlags { fd: fd()?, flags: of.int32(2)? },
            other => return Err(Error::new(format!("fcntl {other:?} is not supported"))),
        },
        "ioctl" => Op::Ioctl { fd: fd()?, request: of.int32(1)? },
        "shutdown" => Op::Shutdown { fd: fd()?, how: of.int32(1)? },
        "close" => Op::Close { fd: fd()? },
        "poll" => match of.get(0)? {
            Expr::List(all) if all.len() == 1 => {
                let (fd, events) = (field(&all[0], "fd")?, field(&all[0], "events")? as i32);
                Op::Poll { fd, events, limit: of.millis(2)? }
            }
            _ => return Err(Error::new("poll of several descriptors is not supported")),
        },
        "epoll_create" | "epoll_create1" => Op::EpollCreate,
        "epoll_ctl" => {
            let events = field(of.get(3)?, "events")? as i32;
            Op::EpollControl { epoll: fd()?, action: of.int32(1)?, fd: of.int(2)?, events }
        }
        "epoll_wait" => Op::EpollWait { epoll: fd()?, limit: of.millis(3)? },
        "pipe" => match of.get(0)? {
            Expr::List(ends) if ends.len() == 2 => Op::Pipe { ends: [int(&ends[0])?, int(&ends[1])?] },
            other => return Err(Error::new(format!("{other:?} are not two descriptors"))),
        },
        "open" => Op::Open { path: of.bytes(0)? },
        "sendfile" => Op::Sendfile { to: fd()?, from: of.int(1)?, len: of.length(3)? },
        "splice" => Op::Splice { from: fd()?, to: of.int(2)?, len: of.length(4)? },
        _ => return Err(Error::new("the system call is not supported")),
    })
}

struct Arguments(Vec<Expr>);

impl Arguments {
    fn get(&self, index: usize) -> Result<&Expr> {
        self.0.get(index).ok_or_else(|| Error::new(format!("argument {index} is missing")))
    }

    fn int(&self, index: usize) -> Result<i64> {
        int(self.get(index)?)
    }

    /// Returns the argument as an int of C. A flag may use its highest bit.
    fn int32(&self, index: usize) -> Result<i32> {
        Ok(self.int(index)? as i32)
    }

    /// Returns a timeout. A negative one is no limit in the kernel, and long here.
    fn millis(&self, index: usize) -> Result<Duration> {
        Ok(Duration::from_millis(u64::try_from(self.int(index)?).unwrap_or(1000)))
    }

    /// Returns the length of a buffer, or `None` for a null pointer.
    fn buffer(&self, at: usize, len: usize) -> Result<Option<usize>> {
        match self.get(at)? {
            Expr::Name(null) if null == "NULL" => Ok(None),
            _ => self.length(len).map(Some),
        }
    }

    fn length(&self, index: usize) -> Result<usize> {
        length(self.int(index)?)
    }

    /// Returns the bytes of an option's value: integers of 32 bits, or a string.
    fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        add_bytes(self.get(index)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the lengths of the buffers of a `struct msghdr`.
    fn iov(&self, index: usize) -> Result<Vec<usize>> {
        let Expr::Struct(fields) = self.get(index)? else { return Err(Error::new("not a struct msghdr")) };
        let iov = fields.iter().find(|field| field.name == "msg_iov").map(|field| &field.value);
        let Some(Expr::List(buffers)) = iov else { return Err(Error::new("no msg_iov")) };
        let len = |buffer: &Expr| match buffer {
            Expr::Struct(fields) if fields.len() == 2 => length(int(&fields[1].value)?),
            other => Err(Error::new(format!("{other:?} is not a struct iovec"))),
        };
        buffers.iter().map(len).collect()
    }
}

/// Returns the length of a buffer.
fn length(value: i64) -> Result<usize> {
    let len = usize::try_from(value).ok().filter(|len| *len <= LONGEST);
    len.ok_or_else(|| Error::new(format!("{value} is not a length from 0 to {LONGEST}")))
}

fn add_bytes(value: &Expr, bytes: &mut Vec<u8>) -> Result<()> {
    match value {
        Expr::Bytes(text) => bytes.extend(text),
        Expr::List(values) => values.iter().try_for_each(|value| add_bytes(value, bytes))?,
        Expr::Struct(fields) => fields.iter().try_for_each(|field| add_bytes(&field.value, bytes))?,
        value => bytes.extend((int(value)? as i32).to_ne_bytes()),
    }
    Ok(())
}

fn field(of: &Expr, name: &str) -> Result<i64> {
    let Expr::Struct(fields) = of else { return Err(Error::new(format!("{of:?} is not a structure"))) };
    let found = fields.iter().find(|field| field.name == name);
    int(&found.ok_or_else(|| Error::new(format!("no field {name}")))?.value)
}

fn int(value: &Expr) -> Result<i64> {
    match value {
        Expr::Int(value) => Ok(*value),
        Expr::Or(all) => all.iter().try_fold(0, |sum, value| Ok(sum | int(value)?)),
        Expr::Name(name) => {
            // The names of linux/sockios.h for the requests of asm/ioctls.h.
            let name = match name.as_str() {
                "SIOCINQ" => "TIOCINQ",
                "SIOCOUTQ" => "TIOCOUTQ",
                name => name,
            };
            let known = CONSTANTS.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| *value).ok_or_else(|| Error::new(format!("the constant {name} is not known")))
        }
        other => Err(Error::new(format!("{other:?} is not a number"))),
    }
}

macro_rules! constants {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name as i64)),*] };
}

/// The constants of system calls, from the C library.
const CONSTANTS: &[(&str, i64)] = &constants! {
    SOCK_STREAM SOCK_NONBLOCK SOCK_CLOEXEC SHUT_RD SHUT_WR SHUT_RDWR O_RDONLY O_RDWR O_NONBLOCK
    SOL_SOCKET SOL_TCP IPPROTO_TCP SOL_IP IPPROTO_IP SOL_IPV6 IPPROTO_IPV6
    SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_LINGER SO_SNDBUF SO_RCVBUF SO_SNDBUFFORCE SO_RCVBUFFORCE SO_ERROR
    SO_RCVLOWAT SO_MARK SO_PRIORITY SO_ZEROCOPY SO_TIMESTAMPING SO_TIMESTAMP SO_BUSY_POLL SO_TXTIME SO_INCOMING_CPU
    SO_MAX_PACING_RATE
    SOF_TIMESTAMPING_TX_SOFTWARE SOF_TIMESTAMPING_SOFTWARE SOF_TIMESTAMPING_RX_SOFTWARE SOF_TIMESTAMPING_OPT_ID
    SOF_TIMESTAMPING_TX_SCHED SOF_TIMESTAMPING_TX_ACK SOF_TIMESTAMPING_OPT_TSONLY SOF_TIMESTAMPING_OPT_CMSG
    TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT
    TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION TCP_MD5SIG TCP_USER_TIMEOUT TCP_FASTOPEN TCP_TIMESTAMP
    TCP_NOTSENT_LOWAT TCP_CC_INFO TCP_SAVE_SYN TCP_FASTOPEN_CONNECT TCP_ULP TCP_FASTOPEN_KEY
    TCP_FASTOPEN_NO_COOKIE TCP_ZEROCOPY_RECEIVE TCP_INQ
    IP_TOS IP_TTL IP_MTU_DISCOVER IP_PMTUDISC_DONT IP_PMTUDISC_WANT IP_PMTUDISC_DO IP_FREEBIND IP_RECVERR
    IPV6_TCLASS IPV6_RECVERR
    MSG_OOB MSG_PEEK MSG_DONTWAIT MSG_EOR MSG_TRUNC MSG_WAITALL MSG_MORE MSG_NOSIGNAL MSG_ERRQUEUE MSG_FASTOPEN
    MSG_ZEROCOPY TIOCINQ TIOCOUTQ
    EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP EPOLLPRI EPOLLET
    EPOLLONESHOT EPOLLEXCLUSIVE POLLIN POLLOUT POLLERR POLLHUP POLLRDHUP POLLPRI
};
