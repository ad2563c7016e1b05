// SPDX-License-Identifier: MIT OR Apache-2.0
//! The columns of the tables.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{ArrowError, Field, Schema};
use retrans_sdk::Event;
use retrans_sdk::event::Timestamp;
use retrans_sdk::host::Workload;

use crate::store::{Count, Row};

/// The columns of a table, in order. Arrays of no rows define the schema.
type Columns = Vec<(&'static str, ArrayRef)>;

/// Returns the schema of a table. Every column may be null, so that a column that is added later
/// does not change the others.
pub(crate) fn schema(columns: &Columns) -> Schema {
    let field = |(name, array): &(&'static str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// Returns rows as Arrow defines them.
pub(crate) fn batch(columns: Columns) -> Result<RecordBatch, ArrowError> {
    let schema = Arc::new(schema(&columns));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect())
}

/// Spark refuses nanoseconds in a timestamp of Parquet, so they are in a column of their own.
fn times(times: impl Iterator<Item = Timestamp> + Clone) -> [(&'static str, ArrayRef); 2] {
    let micros = times.clone().map(|ts| Some((ts.as_nanos() / 1000) as i64)).collect::<TimestampMicrosecondArray>();
    // The last time that fits is in the year 2262.
    let nanos = times.map(|ts| i64::try_from(ts.as_nanos()).ok()).collect::<Int64Array>();
    [("ts", Arc::new(micros.with_timezone("UTC"))), ("ts_ns", Arc::new(nanos))]
}

/// Returns a column of texts. The writer of Parquet stores different texts once.
fn texts<T: Display>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for value in values {
        match value {
            // Writing to a builder does not fail.
            Some(value) => {
                let _ = write!(builder, "{value}");
                builder.append_value("");
            }
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn longs(values: impl Iterator<Item = Option<u32>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(i64::from)).collect::<Int64Array>())
}

fn ids(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.collect::<UInt64Array>())
}

/// Returns the /24 or /48 that contains an address. SQL cannot derive it from the text of an IPv6
/// address.
fn prefix_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{}/24", Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8))),
        IpAddr::V6(address) => format!("{}/48", Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80))),
    }
}

/// Returns the columns of the table `events`: the keys of the key=value line, the boot, the
/// workload, and the prefix of the remote address.
///
/// Ports and other small numbers are INT32, the unsigned 32-bit numbers INT64, and the ids, which
/// use all 64 bits, UINT64.
pub(crate) fn events(rows: &[Row], boot_id: Option<&str>) -> Columns {
    let each = || rows.iter().map(|row| &row.event);
    let workload =
        |get: fn(&Workload) -> Option<&String>| texts(rows.iter().map(move |row| get(row.workload.as_ref()?)));
    let small = |get: fn(&Event) -> Option<u8>| ints(each().map(move |event| get(event).map(i32::from)));
    let mut columns: Columns = times(each().map(|event| event.ts)).into();
    columns.extend([
        ("boot_id", texts(rows.iter().map(|_| boot_id))),
        ("result", texts(each().map(|event| Some(event.result)))),
        ("class", texts(each().map(|event| Some(event.class())))),
        ("err", ints(each().map(|event| event.err))),
        ("kind", texts(each().map(|event| Some(event.kind)))),
        ("family", texts(each().map(|event| Some(event.family())))),
        ("saddr", texts(each().map(|event| Some(event.saddr)))),
        ("sport", ints(each().map(|event| Some(event.sport.into())))),
        ("daddr", texts(each().map(|event| Some(event.daddr)))),
        ("dport", ints(each().map(|event| Some(event.dport.into())))),
        ("state", texts(each().map(|event| Some(event.state)))),
        ("segs", longs(each().map(|event| Some(event.segs)))),
        ("mapped", Arc::new(each().map(|event| Some(event.mapped)).collect::<BooleanArray>()) as ArrayRef),
        ("transmit", texts(each().map(|event| event.transmit))),
        ("cookie", ids(each().map(|event| event.cookie))),
        ("netns", longs(each().map(|event| event.netns))),
        ("cgroup", ids(each().map(|event| event.cgroup))),
        ("uid", longs(each().map(|event| event.uid))),
        ("netns_cookie", ids(each().map(|event| event.netns_cookie))),
        ("mark", longs(each().map(|event| event.mark))),
        ("bound_dev_if", longs(each().map(|event| event.bound_dev_if))),
        ("owner", texts(each().map(|event| event.owner))),
        ("pid", longs(each().map(|event| event.pid))),
        ("comm", texts(each().map(|event| event.comm))),
        ("seq", longs(each().map(|event| event.seq))),
        ("end_seq", longs(each().map(|event| event.end_seq))),
        ("len", longs(each().map(|event| event.len))),
        ("tcp_flags", texts(each().map(|event| event.tcp_flags))),
        ("snd_una", longs(each().map(|event| event.snd_una))),
        ("snd_nxt", longs(each().map(|event| event.snd_nxt))),
        ("snd_wnd", longs(each().map(|event| event.snd_wnd))),
        ("snd_cwnd", longs(each().map(|event| event.snd_cwnd))),
        ("ssthresh", longs(each().map(|event| event.ssthresh))),
        ("srtt_us", longs(each().map(|event| event.srtt_us))),
        ("rto_us", longs(each().map(|event| event.rto_us))),
        ("mss", longs(each().map(|event| event.mss))),
        ("retrans_out", longs(each().map(|event| event.retrans_out))),
        ("total_retrans", longs(each().map(|event| event.total_retrans))),
        ("wmem_queued", longs(each().map(|event| event.wmem_queued))),
        ("ca_state", texts(each().map(|event| event.ca_state))),
        ("retransmits", small(|event| event.retransmits)),
        ("backoff", small(|event| event.backoff)),
        ("pending", small(|event| event.pending)),
        ("ca_name", texts(each().map(|event| event.ca_name))),
        ("sk_err_soft", ints(each().map(|event| event.sk_err_soft))),
        ("drop_reason", texts(each().map(|event| event.drop_reason))),
        ("drop_at", texts(each().map(|event| event.drop_at))),
        ("drop_dev", texts(each().map(|event| event.drop_dev))),
        ("oif", longs(each().map(|event| event.oif))),
        ("dev", texts(each().map(|event| event.dev))),
        ("age_us", longs(each().map(|event| event.age_us))),
        ("packets_out", longs(each().map(|event| event.packets_out))),
        ("lost_out", longs(each().map(|event| event.lost_out))),
        ("sacked_out", longs(each().map(|event| event.sacked_out))),
        ("reordering", longs(each().map(|event| event.reordering))),
        ("dsack_dups", longs(each().map(|event| event.dsack_dups))),
        ("undo_retrans", ints(each().map(|event| event.undo_retrans))),
        ("delivered", longs(each().map(|event| event.delivered))),
        ("bytes_retrans", ids(each().map(|event| event.bytes_retrans))),
        ("pacing_rate", ids(each().map(|event| event.pacing_rate))),
        ("min_rtt_us", longs(each().map(|event| event.min_rtt_us))),
        ("pmtu", longs(each().map(|event| event.pmtu))),
        ("priority", longs(each().map(|event| event.priority))),
        ("total_rto", longs(each().map(|event| event.total_rto))),
        ("tos", small(|event| event.tos)),
        ("is_mptcp", small(|event| event.is_mptcp)),
        ("orphan", small(|event| event.orphan)),
        ("daddr_prefix", texts(each().map(|event| Some(prefix_of(event.daddr))))),
        ("unit", workload(|workload| workload.unit.as_ref())),
        ("namespace", workload(|workload| workload.namespace.as_ref())),
        ("pod", workload(|workload| workload.pod.as_ref())),
        ("container", workload(|workload| workload.container.as_ref())),
        ("pod_uid", workload(|workload| workload.pod_uid.as_ref())),
        ("container_id", workload(|workload| workload.container_id.as_ref())),
        ("qos", texts(rows.iter().map(|row| row.workload.as_ref()?.qos))),
        ("runtime", texts(rows.iter().map(|row| row.workload.as_ref()?.runtime))),
    ]);
    columns
}

/// Returns the columns of the table `counts`.
pub(crate) fn counts(rows: &[Count], boot_id: Option<&str>) -> Columns {
    let mut columns: Columns = times(rows.iter().map(|row| row.until)).into();
    columns.extend([
        ("boot_id", texts(rows.iter().map(|_| boot_id))),
        (
            "seconds",
            Arc::new(rows.iter().map(|row| Some(row.seconds)).collect::<arrow_array::Float64Array>()) as ArrayRef,
        ),
        ("result", texts(rows.iter().map(|row| row.result.as_ref()))),
        ("class", texts(rows.iter().map(|row| row.class))),
        ("kind", texts(rows.iter().map(|row| row.kind))),
        ("disposition", texts(rows.iter().map(|row| row.disposition))),
        ("attempts", ids(rows.iter().map(|row| Some(row.attempts)))),
        ("segs", ids(rows.iter().map(|row| row.segs))),
        ("retrans_segs_before", ids(rows.iter().map(|row| row.retrans_segs.map(|(before, _)| before)))),
        ("retrans_segs_after", ids(rows.iter().map(|row| row.retrans_segs.map(|(_, after)| after)))),
        ("retrans_segs_seen", ids(rows.iter().map(|row| row.retrans_segs_seen))),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_of_an_event_is_a_column() {
        let columns = events(&[], None);
        let names: BTreeSet<_> = columns.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), columns.len(), "each name is unique");
        let own = [
            "ts_ns",
            "boot_id",
            "unit",
            "namespace",
            "pod",
            "container",
            "pod_uid",
            "container_id",
            "qos",
            "runtime",
            "daddr_prefix",
        ];
        let expected: BTreeSet<_> = retrans_sdk::event::keys().chain(own).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_prefix_is_a_network() {
        let prefix = |text: &str| prefix_of(text.parse().expect("an address"));
        assert_eq!(prefix("192.0.2.255"), "192.0.2.0/24");
        assert_eq!(prefix("2001:db8:1:2:3::4"), "2001:db8:1::/48");
        assert_eq!(prefix("fd00::1"), "fd00::/48");
    }

    #[test]
    fn the_types_do_not_depend_on_the_rows() {
        let event: Event = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
            daddr=10.0.0.2 dport=443 state=established segs=1 class=drop"
            .parse()
            .expect("a line");
        let rows = [Row { event, workload: None }];
        assert_eq!(schema(&events(&rows, Some("boot"))), schema(&events(&[], None)));
        assert_eq!(batch(events(&rows, Some("boot"))).expect("a batch").num_rows(), 1);
    }
}
