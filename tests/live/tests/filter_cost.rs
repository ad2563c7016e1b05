// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of a filter: unused parts are not in the loaded program, and every part verifies with
//! each attach method.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use retrans_lab::filters::demanding;
use retrans_lab::observe::{attachment, filter};
use retrans_lab::{Context, Result, privilege};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::stream::RateLimit;
use retrans_sdk::{ErrorKind, FieldSet, Stream, StreamBuilder};

/// The tests inspect what the process has attached, so they run one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The size of an instruction in bytes.
const INSTRUCTION: usize = 8;

/// Returns the number of instructions of each loaded program of a stream. This process has no
/// others.
fn sizes(builder: StreamBuilder) -> Result<BTreeMap<String, usize>> {
    let _stream = builder.open().context("cannot open a stream")?;
    sizes_now()
}

/// Returns the values of this key in the fdinfo of this process's descriptors.
fn descriptors(key: &str) -> Result<Vec<u32>> {
    let mut ours = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").context("cannot read /proc/self/fdinfo")? {
        // The descriptor of the directory itself is closed by now.
        let info = fs::read_to_string(entry.context("cannot read /proc/self/fdinfo")?.path()).unwrap_or_default();
        ours.extend(info.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u32>().ok()));
    }
    Ok(ours)
}

fn sizes_now() -> Result<BTreeMap<String, usize>> {
    let ours = descriptors("prog_id:")?;
    let options = ProgInfoQueryOptions::default().include_xlated_prog_insns(true);
    let programs = ProgInfoIter::with_query_opts(options).filter(|program| ours.contains(&program.id));
    let size = |bytes: &[u8]| bytes.len() / INSTRUCTION;
    Ok(programs.map(|p| (p.name.to_string_lossy().into_owned(), size(&p.xlated_prog_insns))).collect())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn unused_filter_code_is_not_loaded() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    // The program for SYN-ACKs: attached on every kernel, and the smaller one.
    let synack_of = |what: &str, builder| -> Result<usize> {
        let sizes = sizes(builder)?;
        let (_, size) = sizes.iter().find(|(name, _)| *name == "rt_tp_synack").expect("it is attached");
        println!("{what:.60}: {sizes:?}");
        Ok(*size)
    };
    let synack = |text: &str| synack_of(text, Stream::builder().filter(filter(text)?));
    let none = synack("")?;
    assert!((150..=450).contains(&none), "{none} instructions without a filter");
    let cost = |text: &str| synack(text).map(|size| size as i64 - none as i64);

    let port = cost("dport=443")?;
    // The first term includes the loop and the counts of what passes.
    assert!((20..=250).contains(&port), "{port}");
    // The maximum number of tests of one kind is a loop over data.
    let many: Vec<_> = (1..=512).map(|port| port.to_string()).collect();
    assert_eq!(cost(&format!("dport={}", many.join(",")))?, port);
    assert_eq!(cost("dport!=443,8000..9000")?, cost("dport!=443")?);
    // Each added part adds instructions, and nothing else does.
    let both = cost("dport=443 sport=22")?;
    assert!((port + 1..port + 20).contains(&both), "{both}");
    let address = cost("daddr=10.0.0.0/8")?;
    assert!(address > both, "{address}");
    let cgroup = cost("cgroup=5/")?;
    assert!(cgroup > port, "{cgroup}");
    // Of all programs together: a SYN-ACK lacks some of these fields, so none of its attempts pass.
    let together = |text: &str| Ok(sizes(Stream::builder().filter(filter(text)?))?.values().sum::<usize>());
    let (all, address) = (together(&demanding()[0])?, together("daddr=10.0.0.0/8")?);
    assert!(all > address, "{all}, {address}");
    let limit = synack_of("a limit", Stream::builder().rate_limit(RateLimit { per_second: 10, burst: 10 }))? as i64
        - none as i64;
    assert!((10..=80).contains(&limit), "{limit}");
    // Then the record is not built either.
    assert!(cost("snd_wnd=1")? < 0);
    // Features that are not requested are not loaded either.
    let few = synack_of("few fields", Stream::builder().fields(FieldSet::none()))?;
    assert!(few < none - 20, "{few}, {none}");
    Ok(())
}

/// Without a request, the program that records drops is not loaded, and the others contain no code
/// for drops.
#[test]
#[ignore = "live: needs root, run by make test"]
fn drops_that_are_not_requested_cost_nothing() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let with = |fields| sizes(Stream::builder().fields(fields));
    let (without, drops) = (with(FieldSet::default())?, with(FieldSet::default() | FieldSet::drops())?);
    let device = with(FieldSet::default() | "oif,dev".parse().expect("fields"))?;
    println!("{without:?}, with the device {device:?}, with drops {drops:?}");
    assert!(without.keys().eq(device.keys()), "{without:?} {device:?}");
    let added: Vec<_> = drops.keys().filter(|name| !without.contains_key(*name)).collect();
    assert_eq!(added, ["rt_tp_drop"]);
    for (name, size) in &without {
        // A SYN-ACK has neither a device nor a drop, and only the code that writes zeros.
        assert!(*size <= device[name] && device[name] <= drops[name], "{name}: {without:?} {drops:?}");
    }
    let sum = |sizes: &BTreeMap<String, usize>| sizes.values().sum::<usize>();
    assert!(sum(&without) + 20 < sum(&device) && sum(&device) + 20 < sum(&drops), "{without:?} {drops:?}");
    Ok(())
}

/// Neither the programs of verdicts and of the age of a segment, nor the code of extended fields
/// are loaded unless they are requested.
#[test]
#[ignore = "live: needs root, run by make test"]
fn verdicts_and_extended_fields_are_loaded_on_request() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let is_of_request = |name: &str| name.starts_with("rt_verdict") || name.contains("_age_");
    let none = sizes(Stream::builder())?;
    assert!(!none.keys().any(|name| is_of_request(name)), "{none:?}");
    let stream = Stream::builder().on_verdict(|_| ()).open().context("cannot open a stream")?;
    let hooks = stream.live().and_then(|live| live.verdict_hooks()).expect("requested").clone();
    let with_verdicts = sizes_now()?;
    drop(stream);
    for (hook, name) in [(&hooks.ended, "rt_verdict_end"), (&hooks.undo, "rt_verdict_undo")] {
        assert_eq!(with_verdicts.contains_key(name), hook.is_available(), "{hooks} {with_verdicts:?}");
    }
    let with_fields = sizes(Stream::builder().fields(FieldSet::all()))?;
    println!("{none:?}, with verdicts {with_verdicts:?}, with all fields {with_fields:?}");
    let attempts = none.keys().find(|name| ["rt_tp_skb", "rt_raw_skb"].contains(&name.as_str())).expect("attached");
    if hooks.ended.is_available() {
        assert!(with_verdicts[attempts] > none[attempts] + 40, "{none:?} {with_verdicts:?}");
    }
    assert!(with_fields[attempts] > none[attempts] + 100, "{none:?} {with_fields:?}");
    Ok(())
}

/// The programs of every attach method verify with all fields, verdicts, owners and a long filter.
#[test]
#[ignore = "live: needs root, run by make test"]
fn everything_together_loads_with_each_attach_method() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        let builder = Stream::builder()
            .filter(filter(&demanding()[0])?)
            .fields(FieldSet::all())
            .on_verdict(|_| ())
            .resolve_owners()
            .attach_method(method);
        match builder.open() {
            Ok(stream) => println!("{method}: {:?}", stream.live().and_then(|live| live.verdict_hooks())),
            Err(error) if error.kind() == ErrorKind::MethodUnavailable => {
                // The kernel lacks the method, but it must not refuse to load the programs.
                println!("{method}: {error}");
                assert!(!error.to_string().contains("PROG LOAD LOG"), "{method}: {error}");
            }
            Err(error) => return Err(error).context("cannot open a stream"),
        }
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counting_only_loads_no_ring_and_smaller_programs() -> Result<()> {
    /// `BPF_MAP_TYPE_RINGBUF`.
    const RING: u32 = 27;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let rings = || Ok(descriptors("map_type:")?.into_iter().filter(|of| *of == RING).count());
    let stream = Stream::builder().open().context("cannot open a stream")?;
    let (whole, with_ring) = (sizes_now()?, rings()?);
    drop(stream);
    let counters = Stream::builder().open_counters().context("cannot open the counters")?;
    let (counting, without) = (sizes_now()?, rings()?);
    println!("{whole:?}, to count {counting:?}");
    assert!(with_ring > 0, "a stream with events has a ring buffer");
    assert_eq!(without, 0);
    assert!(whole.len() >= 2 && counting.len() == whole.len(), "{whole:?} {counting:?}");
    for (name, size) in &counting {
        // Programs at function entries report nothing, so they are the same.
        let is_entry = name.starts_with("rt_fentry") || name.starts_with("rt_kp_");
        assert!(size + 80 < whole[name] || is_entry && *size == whole[name], "{name}: {size} of {}", whole[name]);
    }
    assert_eq!(counters.attachment().method, attachment(&Stream::builder().open().context("a stream")?).method);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn demanding_filters_load_with_each_attach_method() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        // Not supported here, as `attach_methods` tests.
        if Stream::builder().attach_method(method).open().is_err_and(|e| e.kind() == ErrorKind::MethodUnavailable) {
            continue;
        }
        for text in demanding() {
            let stream = Stream::builder()
                .attach_method(method)
                .filter(filter(&text)?)
                .rate_limit(RateLimit { per_second: 10, burst: 10 })
                .open();
            stream.with_context(|| format!("{method} with {text}"))?;
            opened += 1;
        }
    }
    assert!(opened >= demanding().len());
    Ok(())
}
