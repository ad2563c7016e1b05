// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the time between two programs at the tracepoint: the cost of everything attached in
//! between, such as a BPF program, perf or a trace buffer.

use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder, PrintLevel, set_print};
use retrans_lab::{Context, Error, Result};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// `BUCKETS` and `BUCKET_NS` of `bench.bpf.c`.
const BUCKETS: usize = 1 << 14;
const BUCKET_NS: f64 = 4.0;

/// The members of `struct spent` before the buckets, of eight bytes each.
const HEAD: usize = 3;
const SIZE: usize = HEAD * 8 + BUCKETS * 4;

/// A program of `bench.bpf.c`.
pub(crate) struct Attached {
    _link: Link,
    _object: Option<Object>,
}

/// Measures with `before` attached while this value exists.
pub(crate) struct Sandwich {
    object: Object,
    _before: Link,
}

/// The time between the two programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) count: u64,
    pub(crate) discarded: u64,
    /// The median over single attempts, which interrupts do not affect.
    pub(crate) median_ns: f64,
    /// The mean, with interrupts and with the rare costs, such as waking a reader.
    pub(crate) mean_ns: f64,
}

/// Returns the empty program, attached.
pub(crate) fn empty() -> Result<Attached> {
    let object = load(&["empty"])?;
    Ok(Attached { _link: attach(&object, "empty")?, _object: Some(object) })
}

/// Returns the empty program at the tracepoint of dropped packets, attached.
pub(crate) fn empty_drop() -> Result<Attached> {
    let object = load(&["empty_drop"])?;
    Ok(Attached { _link: attach(&object, "empty_drop")?, _object: Some(object) })
}

impl Sandwich {
    /// Attaches `before` after everything that is attached already.
    pub(crate) fn begin() -> Result<Self> {
        let object = load(&["before", "after"])?;
        Ok(Self { _before: attach(&object, "before")?, object })
    }

    /// Attaches `after` after everything that is attached already.
    pub(crate) fn close(&self) -> Result<Attached> {
        Ok(Attached { _link: attach(&self.object, "after")?, _object: None })
    }

    /// Resets the counts.
    pub(crate) fn clear(&self) -> Result<()> {
        let map = self.object.maps().find(|map| map.name() == "spent");
        let map = map.ok_or_else(|| Error::new("the object has no map spent"))?;
        map.update(&0u32.to_ne_bytes(), &[0; SIZE], MapFlags::ANY).context("cannot clear the map spent")
    }

    /// Returns the counts since the reset.
    pub(crate) fn read(&self) -> Result<Spent> {
        let map = self.object.maps().find(|map| map.name() == "spent");
        let map = map.ok_or_else(|| Error::new("the object has no map spent"))?;
        let value = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).context("cannot read the map spent")?;
        parse(&value.unwrap_or_default()).ok_or_else(|| Error::new("the map spent has an unexpected layout"))
    }
}

fn parse(value: &[u8]) -> Option<Spent> {
    let (head, buckets) = value.split_at_checked(HEAD * 8)?;
    let [count, sum, discarded]: [u64; HEAD] = words(head, u64::from_ne_bytes).try_into().ok()?;
    let buckets = words(buckets, u32::from_ne_bytes);
    let counted: u64 = buckets.iter().map(|n| u64::from(*n)).sum();
    let mut below = 0;
    let median = buckets.iter().position(|n| {
        below += u64::from(*n);
        2 * below >= counted
    })?;
    let median_ns = (median as f64 + 0.5) * BUCKET_NS;
    let mean_ns = sum as f64 / count as f64;
    (buckets.len() == BUCKETS).then_some(Spent { count, discarded, median_ns, mean_ns })
}

fn words<const N: usize, T>(bytes: &[u8], word: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok().map(&word)).collect()
}

/// Loads the object with only these programs.
fn load(programs: &[&str]) -> Result<Object> {
    let printer = set_print(Some((PrintLevel::Warn, |_, text| eprint!("{text}"))));
    let object = ObjectBuilder::default().open_memory(OBJECT).and_then(|mut open| {
        for mut program in open.progs_mut() {
            let wanted = programs.iter().any(|name| program.name() == *name);
            program.set_autoload(wanted);
        }
        open.load()
    });
    set_print(printer);
    object.context("cannot load the programs of the bench")
}

fn attach(object: &Object, name: &str) -> Result<Link> {
    let program = object.progs_mut().find(|program| program.name() == name);
    let program = program.ok_or_else(|| Error::new(format!("the object has no program {name}")))?;
    program.attach().with_context(|| format!("cannot attach {name}"))
}
