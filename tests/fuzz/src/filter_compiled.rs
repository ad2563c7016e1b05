// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filter of the BPF programs, compiled from their C code for this machine, against the model
//! `Filter::matches`.
//!
//! `tests/live/tests/filter_harness.rs` runs the same comparison in the kernel, as root, on a few
//! hundred thousand records.

use std::sync::Mutex;

use retrans_sdk::harness::{bit_of, empty_record, event_of, filter_bytes, matches, place_of};
use retrans_sdk::{FieldSet, Filter};

/// `RETRANS_MAX_CGROUP_LEVELS`.
const LEVELS: usize = 32;

/// The C code has one filter.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[allow(unsafe_code, reason = "calls the C code of the filter")]
mod native {
    use std::ffi::{c_int, c_ulong, c_void};

    // SAFETY: the signatures are those of bpf/filter_native.c.
    unsafe extern "C" {
        safe fn retrans_filter_size() -> c_ulong;
        safe fn retrans_subject_size() -> c_ulong;
        fn retrans_filter_passes(chosen: *const c_void, subject: *const c_void) -> c_int;
    }

    /// Returns the result of the C code. No other thread may call it at the same time.
    pub(super) fn passes(filter: &[u8], subject: &[u8], _turn: &std::sync::MutexGuard<'_, ()>) -> bool {
        assert_eq!(filter.len() as u64, retrans_filter_size());
        assert_eq!(subject.len() as u64, retrans_subject_size());
        // SAFETY: both lengths are those of the structures, which the function only reads. Their
        // alignment is that of u64, and it copies the filter. The guard excludes other threads.
        unsafe {
            let aligned: Vec<u64> =
                subject.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
            retrans_filter_passes(filter.as_ptr().cast(), aligned.as_ptr().cast()) != 0
        }
    }
}

/// The first line is the filter. The bytes after it are the cgroups, the socket set and the record.
pub(crate) fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let Ok(filter) = text.parse::<Filter>() else { return };
    if filter.event_only().next().is_some() {
        return;
    }
    let mut rest = bytes.get(end + 1..).unwrap_or_default().iter().copied();
    let mut byte = || rest.next().unwrap_or_default();

    let levels = usize::from(byte()) % (LEVELS + 1);
    let in_socket_set = byte() & 1 != 0;
    // The ids of cgroups are not zero.
    let cgroups: Vec<u64> = (0..levels).map(|_| u64::from(byte()).max(1)).collect();
    let mut record = empty_record();
    for place in &mut record[8..] {
        *place = byte();
    }
    make_possible(&mut record, &cgroups);

    let event = event_of(&record);
    let mut subject = record;
    // The filter does not read the extended fields, for which the C code has room.
    subject.resize(FieldSet::all().record_length(), 0);
    for level in 0..LEVELS {
        subject.extend(cgroups.get(level).copied().unwrap_or_default().to_ne_bytes());
    }
    subject.extend((cgroups.len() as u32).to_ne_bytes());
    subject.extend(u32::from(in_socket_set).to_ne_bytes());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let compiled = native::passes(&filter_bytes(&filter), &subject, &turn);
    let model = matches(&filter, &event, &cgroups, in_socket_set);
    assert_eq!(compiled, model, "{filter}\n{event}\ncgroups {cgroups:?}, in the socket set: {in_socket_set}");
}

/// Changes what the BPF programs never write.
fn make_possible(record: &mut [u8], cgroups: &[u64]) {
    let mut put = |field: &str, change: &dyn Fn(&mut [u8])| change(&mut record[place_of(field)]);
    put("family", &|bytes| bytes[0] = if bytes[0] & 1 == 0 { 2 } else { 10 });
    // A number of the tables, or an unlisted one with its base.
    put("result", &|bytes| {
        let number = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x1_ffff;
        bytes.copy_from_slice(&number.to_ne_bytes());
    });
    // A name is padded with zeros.
    put("ca_name", &|bytes| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes[end..].fill(0);
    });
    let own = cgroups.last().copied().unwrap_or_default();
    put("cgroup", &|bytes| bytes.copy_from_slice(&own.to_ne_bytes()));
    let mut present = u64::from_ne_bytes(record[place_of("present")].try_into().unwrap_or_default());
    for always in ["netns", "uid", "mark"] {
        present |= bit_of(always);
    }
    // Absent if they are 0.
    for id in ["cookie", "netns_cookie", "bound_dev_if", "cgroup"] {
        let is_zero = record[place_of(id)].iter().all(|byte| *byte == 0);
        present = if is_zero { present & !bit_of(id) } else { present | bit_of(id) };
    }
    record[place_of("present")].copy_from_slice(&present.to_ne_bytes());
}
