// SPDX-License-Identifier: MIT OR Apache-2.0
//! A text to a filter, or the column where it goes wrong.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::compile::{MAX_TESTS, MAX_TREES, tests_of};
use super::{Filter, Operand, Term, is_event_only};
use crate::event::kernel_str::KernelStr;
use crate::event::schema::{self, Field, FieldType};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;

/// As many sets of terms as there may be.
const MAX_CLAUSES: usize = 16;

/// A text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    column: usize,
    problem: String,
}

impl FilterError {
    /// Where the trouble starts, in characters, the first being 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter, column {}: {}", self.column, self.problem)
    }
}

impl std::error::Error for FilterError {}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut clauses = vec![Vec::new()];
        let mut last_or = None;
        let mut room = Room::default();
        for (column, word) in words(text) {
            let Some(clause) = clauses.last_mut() else { break };
            if word == "--or" {
                if clause.is_empty() {
                    return Err(empty_clause(column));
                }
                if clauses.len() == MAX_CLAUSES {
                    let problem = format!("more than {MAX_CLAUSES} sets of terms");
                    return Err(FilterError { column, problem });
                }
                clauses.push(Vec::new());
                last_or = Some(column);
            } else {
                let term = term(word, column)?;
                if clause.iter().any(|other: &Term| other.field.key == term.field.key) {
                    let problem = format!("`{}` stands twice in one clause; use a list or --or", term.field.key);
                    return Err(FilterError { column, problem });
                }
                room.take(&term).map_err(|problem| FilterError { column, problem })?;
                clause.push(term);
            }
        }
        match last_or {
            Some(column) if clauses.last().is_some_and(Vec::is_empty) => Err(empty_clause(column)),
            None if clauses[0].is_empty() => Ok(Self::default()),
            _ => Ok(Self { clauses }),
        }
    }
}

/// What the kernel side has room for.
#[derive(Default)]
struct Room {
    tests: usize,
    trees: Vec<u64>,
}

impl Room {
    fn take(&mut self, term: &Term) -> Result<(), String> {
        if is_event_only(term.field) {
            return Ok(());
        }
        self.tests += tests_of(term);
        if self.tests > MAX_TESTS {
            return Err(format!(
                "too many values: the kernel side has room for {MAX_TESTS} tests, and here it is full"
            ));
        }
        for operand in &term.operands {
            if let Operand::Within(id) = operand
                && !self.trees.contains(id)
            {
                self.trees.push(*id);
            }
        }
        if self.trees.len() > MAX_TREES {
            return Err(format!("more than {MAX_TREES} different cgroups with all below them"));
        }
        Ok(())
    }
}

/// It would let everything through, which nobody writes `--or` for.
fn empty_clause(column: usize) -> FilterError {
    FilterError { column, problem: "`--or` needs a term before and after it".to_owned() }
}

/// The words of a text, each with its column.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| {
        // Sound: a word is a part of the text.
        let offset = word.as_ptr() as usize - text.as_ptr() as usize;
        (text[..offset].chars().count() + 1, word)
    })
}

fn term(word: &str, column: usize) -> Result<Term, FilterError> {
    let fail = |column, problem| Err(FilterError { column, problem });
    let Some((left, values)) = word.split_once('=') else {
        return fail(column, format!("`{word}` is not key=value"));
    };
    let (key, negated) = left.strip_suffix('!').map_or((left, false), |key| (key, true));
    let Some((_, field)) = schema::by_key(key, 0) else {
        let keys: Vec<_> = schema::keys().collect();
        return fail(column, format!("no key `{key}`; there are {}", keys.join(" ")));
    };
    let mut operands = Vec::new();
    let mut column = column + left.chars().count() + 1;
    for value in values.split(',') {
        match operand(field, value) {
            Ok(operand) => operands.push(operand),
            Err(problem) => return fail(column, format!("{key}: `{value}` is {problem}")),
        }
        column += value.chars().count() + 1;
    }
    Ok(Term::new(field, negated, operands, word.to_owned()))
}

fn operand(field: &Field, text: &str) -> Result<Operand, String> {
    if text.is_empty() {
        return Err("empty; `-` matches an absent value".to_owned());
    }
    if text == "-" {
        return Ok(Operand::Absent);
    }
    match (field.key, text.strip_suffix('/')) {
        ("cookie", _) if text == "mine" => return Ok(Operand::Mine),
        ("cgroup", Some(id)) => return id_of(id).map(Operand::Within),
        _ => {}
    }
    match field.field_type {
        FieldType::Table { parse, names, .. } => {
            let raw = parse(text).ok_or_else(|| format!("not one of {}", names()))?;
            Ok(just(raw.into()))
        }
        FieldType::Int { low, high } => range(text, |n| {
            let value = integer(n)?;
            let within = (i128::from(low)..=i128::from(high)).contains(&value);
            if within { Ok(value) } else { Err(format!("not within {low}..{high}")) }
        }),
        FieldType::Id => range(text, |n| id_of(n).map(i128::from)),
        FieldType::Time => range(text, |n| match n.parse::<Timestamp>() {
            Ok(ts) => Ok(ts.as_nanos().into()),
            Err(error) => Err(error.to_string()),
        }),
        FieldType::Flags => match text.parse::<TcpFlags>() {
            Ok(flags) => Ok(just(flags.0.into())),
            Err(error) => Err(error.to_string()),
        },
        FieldType::Flag if text == "yes" => Ok(just(1)),
        FieldType::Flag => Err("not `yes` or `-`".to_owned()),
        FieldType::Addr => prefix(text).map(Operand::Net).ok_or_else(|| "not an IP address or prefix".to_owned()),
        FieldType::KernelStr => text.parse::<KernelStr>().map(Operand::KernelStr).map_err(|error| error.to_string()),
    }
}

fn id_of(text: &str) -> Result<u64, String> {
    integer(text)?;
    text.parse().map_err(|_| format!("not within 0..{}", u64::MAX))
}

pub(super) const fn just(number: i128) -> Operand {
    Operand::Range { low: number, high: number }
}

/// `n` or `lo..hi`.
fn range(text: &str, number: impl Fn(&str) -> Result<i128, String>) -> Result<Operand, String> {
    let Some((low, high)) = text.split_once("..") else {
        return number(text).map(just);
    };
    let (low, high) = (number(low)?, number(high)?);
    if low > high {
        return Err("a range that ends before it starts".to_owned());
    }
    Ok(Operand::Range { low, high })
}

fn integer(text: &str) -> Result<i128, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("not an integer".to_owned());
    }
    text.parse().map_err(|_| "too large".to_owned())
}

/// An address or a prefix; what IPv6 says of IPv4-mapped addresses is said of IPv4, for so the line prints them.
fn prefix(text: &str) -> Option<IpNet> {
    let net: IpNet = match text.parse::<IpAddr>() {
        Ok(addr) => addr.into(),
        Err(_) => text.parse().ok()?,
    };
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).ok().map(IpNet::V4),
            None => Some(net),
        },
        _ => Some(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_its_column() {
        for (text, column, says) in [
            ("dport", 1, "`dport` is not key=value"),
            ("  dport", 3, "`dport` is not key=value"),
            ("é=1", 1, "no key `é`"),
            ("result=success  stat=close", 17, "no key `stat`; there are ts result"),
            ("result=succes", 8, "not one of err_default success"),
            ("result!=success,Denied", 17, "`Denied` is not one of"),
            ("result=k1,k01", 11, "`k01` is not one of"),
            ("sport=1,70000", 9, "`70000` is not within 0..65535"),
            ("sport=70000..80000", 7, "not within 0..65535"),
            ("sport=9..1", 7, "a range that ends before it starts"),
            ("sport=1..", 7, "not an integer"),
            ("sport=+1", 7, "not an integer"),
            ("sport=", 7, "empty"),
            ("sport=1,", 9, "empty"),
            ("cookie=-1", 8, "not within 0..18446744073709551615"),
            ("cookie=18446744073709551616", 8, "not within"),
            ("daddr=10.0.0.0/33", 7, "not an IP address or prefix"),
            ("daddr=10.0.0.1..10.0.0.9", 7, "not an IP address or prefix"),
            ("cgroup=5..6/", 8, "not an integer"),
            ("cgroup=/", 8, "not an integer"),
            ("cookie=5/", 8, "not an integer"),
            ("netns=mine", 7, "not an integer"),
            ("mapped=no", 8, "not `yes` or `-`"),
            ("tcp_flags=syn", 11, "not 0x"),
            ("ts=now", 4, "not a number of seconds"),
            ("ca_name=12345678901234567", 9, "not a percent-encoded text"),
            ("dport=1 dport=2", 9, "`dport` stands twice"),
            ("dport=1 dport!=2", 9, "`dport` stands twice"),
            ("--or dport=1", 1, "needs a term before and after"),
            ("dport=1 --or", 9, "needs a term before and after"),
            ("dport=1 --or --or sport=1", 14, "needs a term before and after"),
        ] {
            let error = text.parse::<Filter>().expect_err(text);
            assert_eq!(error.column(), column, "{text}: {error}");
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_finds_no_room_in_the_kernel_has_its_column() {
        let says = |text: &str| text.parse::<Filter>().map(|_| ()).map_err(|error| (error.column(), error.to_string()));
        let clauses = |count| vec!["sport=1"; count].join(" --or ");
        assert_eq!(says(&clauses(16)), Ok(()));
        let (column, text) = says(&clauses(17)).expect_err("17");
        assert!(column == clauses(16).len() + 2 && text.contains("more than 16 sets of terms"), "{text}");

        let list = |key: &str, count: u64, end: &str| {
            let values: Vec<_> = (1..=count).map(|value| format!("{value}{end}")).collect();
            format!("{key}={}", values.join(","))
        };
        assert_eq!(says(&list("cookie", 512, "")), Ok(()));
        assert_eq!(says(&format!("{} sport=1", list("cookie", 511, ""))), Ok(()));
        let full = list("cookie", 512, "");
        let (column, text) = says(&format!("{full} sport=1")).expect_err("513");
        assert!(column == full.len() + 2 && text.contains("room for 512"), "{text}");

        assert_eq!(says(&list("cgroup", 16, "/")), Ok(()));
        assert_eq!(says(&format!("{0} --or {0}", list("cgroup", 16, "/"))), Ok(()), "they are the same");
        let (column, text) = says(&list("cgroup", 17, "/")).expect_err("17");
        assert!(column == 1 && text.contains("more than 16 different cgroups"), "{text}");
    }

    #[test]
    fn prints_as_it_was_read() {
        for text in
            ["", "dport=443,8443 result!=success", "cgroup!=34/,7 cookie=mine", "dport=1 --or dport=2 --or daddr=::1"]
        {
            assert_eq!(text.parse::<Filter>().expect(text).to_string(), text);
        }
        let spaced: Filter = "  dport=1\t--or\n dport=2 ".parse().expect("white space is free");
        assert_eq!(spaced.to_string(), "dport=1 --or dport=2");
    }
}
