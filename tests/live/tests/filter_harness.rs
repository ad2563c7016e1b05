// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the kernel filter, compiled from the same C code, with the plain model
//! [`Filter::matches`]: random filters on random records, with each kind of term true and false.
//! Mutations of the C code must be detected.

use std::collections::{BTreeMap, BTreeSet};

use libbpf_rs::{MapCore as _, MapFlags, ObjectBuilder, ProgramInput};
use retrans_lab::filters::kernel_keys;
use retrans_lab::{Context, Result, privilege};
use retrans_sdk::event::{CaState, Family, TcpState, Transmit};
use retrans_sdk::harness::{bit_of, empty_record, event_of, filter_bytes, matches, place_of};
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Event, FieldSet, Filter, ResultClass, RetransKind, RetransResult};

const HARNESS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/filter_harness.bpf.o"));
const MUTANTS: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/mutants.rs"));

const FILTERS: usize = 3_000;
/// As in the harness: the number of records, and of cgroup levels.
const SUBJECTS: usize = 100;
const LEVELS: usize = 32;

/// An attempt as in the harness.
struct Subject {
    record: Vec<u8>,
    cgroups: Vec<u64>,
    mine: bool,
}

impl Subject {
    fn event(&self) -> Event {
        event_of(&self.record)
    }

    /// `struct harness_subject`.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.record.clone();
        // The programs read a whole `struct retrans_record`.
        bytes.resize(FieldSet::all().record_length(), 0);
        for level in 0..LEVELS {
            bytes.extend(self.cgroups.get(level).copied().unwrap_or_default().to_ne_bytes());
        }
        bytes.extend((self.cgroups.len() as u32).to_ne_bytes());
        bytes.extend(u32::from(self.mine).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }
}

/// Returns the result of the object's filter for each subject.
fn judge(object: &[u8], filter: &Filter, subjects: &[Subject]) -> Result<Vec<bool>> {
    assert_eq!(subjects.len(), SUBJECTS);
    let mut open = ObjectBuilder::default().open_memory(object).context("cannot open the harness")?;
    for mut map in open.maps_mut() {
        if map.name().to_string_lossy().contains(".rodata") {
            let data = map.initial_value_mut().expect("it has a value");
            let bytes = filter_bytes(filter);
            // The read-only data contains only the filter.
            assert_eq!(data.len(), bytes.len());
            data.copy_from_slice(&bytes);
        }
    }
    let object = open.load().with_context(|| format!("cannot load the harness with {filter}"))?;
    let map = object.maps().find(|map| map.name() == "subjects").expect("the harness has this map");
    for (index, subject) in (0u32..).zip(subjects) {
        map.update(&index.to_ne_bytes(), &subject.bytes(), MapFlags::ANY)
            .context("cannot write a record to the map")?;
    }
    let program = object.progs_mut().next().expect("the harness has a program");
    let output = program.test_run(ProgramInput::default()).context("cannot run the harness")?;
    assert_eq!(output.return_value as usize, SUBJECTS);

    (0u32..)
        .zip(subjects)
        .map(|(index, _)| {
            let subject = map.lookup(&index.to_ne_bytes(), MapFlags::ANY).context("cannot read a result")?;
            let subject = subject.expect("an array has every index");
            match subject.last_chunk().map(|passed| u64::from_ne_bytes(*passed)) {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                other => panic!("the result is neither 0 nor 1: {other:?}"),
            }
        })
        .collect()
}

fn model(filter: &Filter, subject: &Subject) -> bool {
    matches(filter, &subject.event(), &subject.cgroups, subject.mine)
}

/// Reproducible random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) as usize) % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Few values, so that terms match, chosen where comparisons go wrong: at both ends, and around the
/// bits where a type ends.
const NUMBERS: [u64; 14] =
    [0, 1, 2, 7, 8, 255, 256, 65_534, 65_535, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, u64::MAX];
const SIGNED: [i32; 9] = [i32::MIN, -113, -12, -1, 0, 1, 13, 101, i32::MAX];
const CGROUPS: [u64; 6] = [1, 2, 300, 301, 302, u64::MAX];
const NAMES: [&str; 5] = ["cubic", "bbr", "cubi", "cubic_and_more_1", "cubic_and_more_2"];
const ADDRESSES: [[u8; 16]; 8] = [
    [0; 16],
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 255],
    // Almost mapped.
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3],
    [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 10, 1, 2, 3],
    [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
];
const PREFIXES: [&str; 15] = [
    "::",
    "::/0",
    "fd00::/8",
    "fd00::1",
    "fd00::/64",
    "fd00::8000:0:0:0/65",
    "fd00:0:0:0:8000::1",
    "::/95",
    "10.1.2.3",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::ffff:10.1.2.3",
    "::ffff:10.0.0.0/104",
    "192.0.2.254/31",
    "0.0.0.0",
];

/// Returns a value for a field of this many bytes.
fn number(random: &mut Random, bytes: usize) -> Vec<u8> {
    random.of(&NUMBERS).to_ne_bytes()[..bytes].to_vec()
}

fn subject(random: &mut Random) -> Subject {
    let mut record = empty_record();
    let mut put = |field: &str, value: &[u8]| record[place_of(field)].copy_from_slice(value);

    // As the BPF programs number them, with and without names.
    let result = *random.of(&[0u32, 1, 2, 5, 7, 8, 128, 130, 131, 0x1_0001, 0x1_0063]);
    put("result", &result.to_ne_bytes());
    put("kind", &[random.below(7) as u8]);
    put("transmit", &[random.below(4) as u8]);
    put("state", &[random.below(15) as u8]);
    put("ca_state", &[random.below(6) as u8]);
    for field in ["err", "sk_err_soft"] {
        put(field, &random.of(&SIGNED).to_ne_bytes());
    }
    put("ts", &(random.below(5) as u64 * 500_000_000).to_ne_bytes());
    // Fields without a strategy of their own below, whatever their size.
    let special = ["ca_state", "sk_err_soft", "ca_name", "cookie", "netns_cookie", "bound_dev_if", "cgroup"];
    let others = FieldSet::default().keys().filter(|field| !special.contains(field));
    for field in others.chain(["segs", "sport", "dport"]) {
        put(field, &number(random, place_of(field).len()));
    }
    let mut name = [0; 16];
    let chosen = random.of(&NAMES).as_bytes();
    name[..chosen.len()].copy_from_slice(chosen);
    put("ca_name", &name);

    let family = *random.of(&[2u8, 10, 10]);
    put("family", &family.to_ne_bytes());
    for field in ["saddr", "daddr"] {
        // For AF_INET the remaining bytes are meaningless: equal to the first ones, or others.
        put(field, random.of::<[u8; 16]>(&ADDRESSES));
    }

    // These fields are never absent.
    let mut present = bit_of("netns") | bit_of("uid") | bit_of("mark");
    let others = ["netns", "uid", "mark", "cookie", "netns_cookie", "bound_dev_if", "cgroup"];
    for field in FieldSet::default().keys().filter(|field| !others.contains(field)).chain(["err"]) {
        if !random.one_in(4) {
            present |= bit_of(field);
        }
    }
    // These fields are absent if they are 0.
    for (field, bytes) in [("cookie", 8), ("netns_cookie", 8), ("bound_dev_if", 4)] {
        if !random.one_in(4) {
            let value = number(random, bytes);
            put(field, &value);
            present |= if value.iter().all(|byte| *byte == 0) { 0 } else { bit_of(field) };
        }
    }
    let mut cgroups = Vec::new();
    if !random.one_in(4) {
        cgroups.push(1);
        for _ in 0..random.below(4) {
            cgroups.push(*random.of(&CGROUPS));
        }
        put("cgroup", &cgroups[cgroups.len() - 1].to_ne_bytes());
        present |= bit_of("cgroup");
    }
    put("present", &present.to_ne_bytes());
    Subject { record, cgroups, mine: random.one_in(2) }
}

/// An operand of a key, and its kind.
fn operand(random: &mut Random, key: &str) -> (&'static str, String) {
    if random.one_in(5) {
        return ("absent", "-".to_owned());
    }
    let named = |names: Vec<&str>, random: &mut Random| {
        let unknown = ["k1", "k6", "k99", "k13"];
        let name = if random.one_in(4) { *random.of(&unknown) } else { *random.of(&names) };
        ("name", name.to_owned())
    };
    fn values<T: ReasonTable>() -> Vec<&'static str> {
        T::ALL.iter().map(|entry| entry.value).collect()
    }
    let range = |random: &mut Random, numbers: Vec<String>, at: fn(&str) -> i128| {
        let (one, other) = (random.of(&numbers).clone(), random.of(&numbers).clone());
        if random.one_in(2) {
            return ("value", one);
        }
        let (low, high) = if at(&one) <= at(&other) { (one, other) } else { (other, one) };
        ("range", format!("{low}..{high}"))
    };
    let integer = |text: &str| text.parse().expect("a number");
    let up_to = |most: u64| NUMBERS.iter().filter(move |n| **n <= most).map(u64::to_string).collect::<Vec<_>>();
    match key {
        "result" => named(values::<RetransResult>(), random),
        "class" => named(values::<ResultClass>(), random),
        "kind" => named(values::<RetransKind>(), random),
        "transmit" => named(values::<Transmit>(), random),
        "state" => named(values::<TcpState>(), random),
        "ca_state" => named(values::<CaState>(), random),
        "family" => named(values::<Family>(), random),
        "saddr" | "daddr" => ("prefix", (*random.of(&PREFIXES)).to_owned()),
        "mapped" => ("value", "yes".to_owned()),
        "ca_name" => ("value", (*random.of(&NAMES)).to_owned()),
        "tcp_flags" => ("value", format!("0x{:03x}", random.of(&NUMBERS) & 0xffff)),
        "ts" => range(random, ["0", "0.5", "1", "1.5", "2"].map(str::to_owned).into(), |text| match text {
            "0.5" => 1,
            "1" => 2,
            "1.5" => 3,
            "2" => 4,
            _ => 0,
        }),
        "err" | "sk_err_soft" => range(random, SIGNED.iter().map(i32::to_string).collect(), integer),
        "cookie" if random.one_in(3) => ("mine", "mine".to_owned()),
        "cookie" | "netns_cookie" => range(random, up_to(u64::MAX), integer),
        "cgroup" if random.one_in(2) => ("tree", format!("{}/", random.of(&CGROUPS))),
        "cgroup" => range(random, CGROUPS.iter().map(u64::to_string).collect(), integer),
        _ => range(random, up_to(u64::MAX >> (64 - 8 * place_of(key).len())), integer),
    }
}

/// A kind of term: its key, whether it is negated, and the kind of its operand. A term with several
/// operands has no kind.
type Kind = (String, bool, &'static str);

fn term(random: &mut Random, key: &str) -> (Option<Kind>, String) {
    let negated = random.one_in(3);
    let operands: Vec<_> = (0..=random.below(2) * random.below(3)).map(|_| operand(random, key)).collect();
    let kind = (operands.len() == 1).then(|| (key.to_owned(), negated, operands[0].0));
    let texts: Vec<_> = operands.into_iter().map(|(_, text)| text).collect();
    (kind, format!("{key}{}={}", if negated { "!" } else { "" }, texts.join(",")))
}

/// Returns the text of a filter, with its terms.
fn filter(random: &mut Random) -> (String, Vec<(Option<Kind>, String)>) {
    let all = kernel_keys();
    let (mut clauses, mut terms) = (Vec::new(), Vec::new());
    // Most filters are short, so that one term can decide; some have the maximum length.
    let (most_clauses, most_terms) = if random.one_in(20) { (16, 8) } else { (3, 3) };
    for _ in 0..=random.below(most_clauses) {
        let keys: BTreeSet<_> = (0..=random.below(most_terms)).map(|_| *random.of(&all)).collect();
        let clause: Vec<_> = keys.into_iter().map(|key| term(random, key)).collect();
        clauses.push(clause.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>().join(" "));
        terms.extend(clause);
    }
    (clauses.join(" --or "), terms)
}

/// Returns the kinds of terms that must occur: each with both results, except those that have only
/// one.
fn kinds() -> BTreeSet<(Kind, bool)> {
    const ALWAYS: [&str; 15] = [
        "ts", "result", "kind", "family", "saddr", "sport", "daddr", "dport", "state", "segs", "class", "netns", "uid",
        "transmit", "mark",
    ];
    let mut all = BTreeSet::new();
    for key in kernel_keys() {
        let operands: &[&'static str] = match key {
            "result" | "class" | "kind" | "transmit" | "state" | "ca_state" | "family" => &["name", "absent"],
            "saddr" | "daddr" => &["prefix", "absent"],
            "mapped" | "ca_name" | "tcp_flags" => &["value", "absent"],
            "cookie" => &["value", "range", "mine", "absent"],
            "cgroup" => &["value", "range", "tree", "absent"],
            _ => &["value", "range", "absent"],
        };
        for operand in operands {
            for negated in [false, true] {
                for answer in [false, true] {
                    let never = (*operand == "absent" && ALWAYS.contains(&key) && answer != negated)
                        // The key has no other value, and for an absent one neither term holds.
                        || (key == "mapped" && *operand == "value" && negated && answer);
                    if !never {
                        all.insert(((key.to_owned(), negated, *operand), answer));
                    }
                }
            }
        }
    }
    all
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn kernel_filter_matches_the_model() -> Result<()> {
    privilege::check()?;
    let mut random = Random(0x5eed);
    let (mut seen, mut passed, mut compared) = (BTreeMap::new(), 0, 0);
    for _ in 0..FILTERS {
        let (text, terms) = filter(&mut random);
        let filter: Filter = text.parse().with_context(|| format!("not a filter: {text}"))?;
        let subjects: Vec<_> = (0..SUBJECTS).map(|_| subject(&mut random)).collect();
        let answers = judge(HARNESS, &filter, &subjects)?;
        for (subject, answer) in subjects.iter().zip(answers) {
            let event = subject.event();
            assert_eq!(answer, model(&filter, subject), "{text}\n{event}\n{:?} {}", subject.cgroups, subject.mine);
            compared += 1;
            passed += usize::from(answer);
        }
        for (kind, term) in terms.into_iter().filter_map(|(kind, text)| Some((kind?, text))) {
            let alone: Filter = term.parse().with_context(|| format!("not a filter: {term}"))?;
            for subject in &subjects {
                *seen.entry((kind.clone(), model(&alone, subject))).or_insert(0) += 1;
            }
        }
    }
    let missing: Vec<_> = kinds().into_iter().filter(|kind| !seen.contains_key(kind)).collect();
    assert_eq!(missing, [], "kinds of terms and results that never occurred");
    assert_eq!(compared, FILTERS * SUBJECTS);
    assert!((compared / 10..compared / 10 * 9).contains(&passed), "{passed} of {compared} passed");
    println!("{FILTERS} filters on {SUBJECTS} records each: {passed} of {compared} passed, {} kinds", seen.len());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn each_mutation_is_detected() -> Result<()> {
    privilege::check()?;
    assert!(!MUTANTS.is_empty());
    for (name, object) in MUTANTS {
        let mut random = Random(0x5eed);
        let mut caught = None;
        for tried in 0..FILTERS {
            let (text, _) = filter(&mut random);
            let filter: Filter = text.parse().with_context(|| format!("not a filter: {text}"))?;
            let subjects: Vec<_> = (0..SUBJECTS).map(|_| subject(&mut random)).collect();
            let answers = judge(object, &filter, &subjects)?;
            let differs = |(subject, answer): (&Subject, &bool)| *answer != model(&filter, subject);
            if subjects.iter().zip(&answers).any(differs) {
                caught = Some((tried, text));
                break;
            }
        }
        let (tried, text) = caught.unwrap_or_else(|| panic!("{name}: no filter detected it"));
        println!("{name}: by filter {tried}, {text}");
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn an_empty_filter_passes_every_record() -> Result<()> {
    privilege::check()?;
    let mut random = Random(1);
    let subjects: Vec<_> = (0..SUBJECTS).map(|_| subject(&mut random)).collect();
    assert_eq!(judge(HARNESS, &Filter::default(), &subjects)?, [true; SUBJECTS]);
    Ok(())
}
