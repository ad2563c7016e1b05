// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that send as fast as they can.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::scenario::without_gso;
use crate::tcp::reset;
use crate::{Conn, Context, Error, Family, Pair, Result};

/// Connections of a pair that send as fast as they can during [`run`](BulkTraffic::run).
#[derive(Debug)]
pub struct BulkTraffic {
    connections: Vec<Conn>,
}

impl BulkTraffic {
    /// Opens connections whose segments have `mss` bytes including TCP options. `mss` must be at
    /// least 88. The RTO starts at 5 ms. With small segments one attempt covers many of them.
    ///
    /// # Errors
    /// Returns an error if the lab cannot open them.
    pub fn open(pair: &Pair, family: Family, connections: usize, mss: u16) -> Result<Self> {
        pair.set_rto_min(family, "rto_min 5ms")?;
        pair.set_advmss(family, mss)?;
        let connections = (0..connections).map(|_| Conn::open(pair, family)).collect::<Result<_>>()?;
        Ok(Self { connections })
    }

    /// Opens the same connections without GSO, so that an attempt covers one segment.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open).
    pub fn open_without_gso(pair: &Pair, family: Family, connections: usize, mss: u16) -> Result<Self> {
        let without_gso = without_gso(pair)?;
        let traffic = Self::open(pair, family, connections, mss)?;
        without_gso.lift()?;
        Ok(traffic)
    }

    /// Adds the connections of `other`, of the same pair or another.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.connections.extend(other.connections);
        self
    }

    /// Sends until `enough` returns true, and then resets the connections. `enough` is called every
    /// few milliseconds.
    ///
    /// # Errors
    /// Returns the errors of `enough`, and an error if a connection fails.
    pub fn run(self, mut enough: impl FnMut() -> Result<bool>) -> Result<()> {
        let done = AtomicBool::new(false);
        let work = |result: std::io::Result<()>| match result {
            Err(error) if !done.load(Ordering::Acquire) => Err(error).context("a connection failed"),
            _ => Ok(()),
        };
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .connections
                .iter()
                .flat_map(|conn| {
                    [
                        scope.spawn(|| work(send(conn.client(), &done))),
                        scope.spawn(|| work(receive(conn.server(), &done))),
                    ]
                })
                .collect();
            let result = loop {
                match enough() {
                    Ok(false) if threads.iter().all(|thread| !thread.is_finished()) => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    other => break other.map(drop),
                }
            };
            done.store(true, Ordering::Release);
            for conn in &self.connections {
                reset(conn.client());
                reset(conn.server());
            }
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            result?;
            ended.into_iter().try_for_each(|ended| ended.map_err(|_| Error::new("a thread panicked"))?)
        })
    }
}

fn send(mut stream: &TcpStream, done: &AtomicBool) -> std::io::Result<()> {
    let bytes = vec![b'x'; 1 << 18];
    while !done.load(Ordering::Acquire) {
        match stream.write(&bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => drop(result?),
        }
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, done: &AtomicBool) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 18];
    while !done.load(Ordering::Acquire) {
        match stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => drop(result?),
        }
    }
    Ok(())
}
