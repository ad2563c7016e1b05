// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses a filter. An error contains the column of the mistake and the text to write instead.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::compile::{MAX_SUBTREES, MAX_TESTS, tests_of};
use super::{Filter, Operand, Term, is_event_only};
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::schema::{self, Field, FieldType};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::text::escape::Escaped;
use crate::text::suggest::{did_you_mean, nearest};

/// The maximum number of clauses in a filter.
pub(super) const MAX_CLAUSES: usize = 16;

/// The error of a text that is not a filter. It contains the column of the mistake, the mistake,
/// and the text to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    column: usize,
    problem: String,
}

impl FilterError {
    /// Returns the column of the mistake, in characters, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter, column {}: {}", self.column, Escaped::value(&self.problem))
    }
}

impl std::error::Error for FilterError {}

/// Parses terms and `--or`.
///
/// # Errors
///
/// Returns [`FilterError`] for an unknown key, an invalid value, a duplicate key in one clause, an
/// empty clause, and more clauses or values than a filter may have.
impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut clauses = vec![Vec::new()];
        let mut last_or = None;
        let mut capacity = Capacity::default();
        for (column, word) in words(text) {
            let Some(clause) = clauses.last_mut() else { break };
            if word == "--or" {
                if clause.is_empty() {
                    return Err(empty_clause(column));
                }
                if clauses.len() == MAX_CLAUSES {
                    let problem = format!("more than {MAX_CLAUSES} clauses");
                    return Err(FilterError { column, problem });
                }
                clauses.push(Vec::new());
                last_or = Some(column);
            } else {
                let term = term(word, column)?;
                if clause.iter().any(|other: &Term| other.field.key == term.field.key) {
                    let problem = format!("duplicate key `{}` in one clause; use a value list or --or", term.field.key);
                    return Err(FilterError { column, problem });
                }
                capacity.take(&term).map_err(|problem| FilterError { column, problem })?;
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

/// The part of the BPF programs' capacity that a filter uses.
#[derive(Default)]
struct Capacity {
    tests: usize,
    subtrees: Vec<u64>,
}

impl Capacity {
    fn take(&mut self, term: &Term) -> Result<(), String> {
        if is_event_only(term.field) {
            return Ok(());
        }
        self.tests += tests_of(term);
        if self.tests > MAX_TESTS {
            return Err(format!("more than {MAX_TESTS} values, of which an address counts as two or three"));
        }
        for operand in &term.operands {
            if let Operand::Subtree(id) = operand {
                if !self.subtrees.contains(id) {
                    self.subtrees.push(*id);
                }
            }
        }
        if self.subtrees.len() > MAX_SUBTREES {
            return Err(format!("more than {MAX_SUBTREES} different cgroup subtrees"));
        }
        Ok(())
    }
}

/// Returns the error of an empty clause, which would match everything.
fn empty_clause(column: usize) -> FilterError {
    FilterError { column, problem: "`--or` requires a term before and after it".to_owned() }
}

/// Returns the words of a text, each with its column.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| {
        // The difference of the addresses is valid, since a word is a part of the text.
        let offset = word.as_ptr() as usize - text.as_ptr() as usize;
        (text[..offset].chars().count() + 1, word)
    })
}

fn term(word: &str, column: usize) -> Result<Term, FilterError> {
    let fail = |column, problem| Err(FilterError { column, problem });
    let Some(at) = word.find(['=', '<', '>']) else {
        return fail(column, format!("`{word}` is not key=value"));
    };
    let (left, operator) = word.split_at(at);
    let (key, negated) = left.strip_suffix('!').map_or((left, false), |key| (key, true));
    let Some((_, field)) = schema::by_key(key, 0) else {
        let problem = match nearest(key, schema::keys()) {
            Some(near) => format!("no key `{key}`; did you mean `{near}`?"),
            None => format!("no key `{key}`; the keys are {}", schema::keys().collect::<Vec<_>>().join(" ")),
        };
        return fail(column, problem);
    };
    let Some(values) = operator.strip_prefix('=') else {
        return fail(column + left.chars().count(), comparison(field, operator));
    };
    let mut column = column + left.chars().count() + 1;
    // A text may begin with `<` or `>`, as names of kernel threads do; `=` is always encoded.
    let is_text = matches!(field.field_type, FieldType::KernelStr);
    if values.starts_with('=') || (values.starts_with(['<', '>']) && !is_text) {
        let problem = match values.strip_prefix('=') {
            Some(values) => format!("`==` is not an operator; write `{left}={values}`"),
            None => comparison(field, values),
        };
        return fail(column - 1, problem);
    }
    let mut operands = Vec::new();
    for value in values.split(',') {
        match operand(field, value) {
            Ok(operand) => operands.push(operand),
            Err(problem) => return fail(column, problem),
        }
        column += value.chars().count() + 1;
    }
    Ok(Term::new(field, negated, operands, word.to_owned()))
}

/// Formats the error of a comparison such as `>1024`, which the grammar lacks, with the range to
/// write instead. `text` begins with the operator.
fn comparison(field: &Field, text: &str) -> String {
    let key = field.key;
    let (sign, rest) = text.split_at(1);
    let is_greater = sign == ">";
    let (is_inclusive, number) = rest.strip_prefix('=').map_or((false, rest), |number| (true, number));
    let operator = if is_inclusive { format!("{sign}=") } else { sign.to_owned() };
    let (least, greatest) = match field.field_type {
        FieldType::Int { low, high } => (low.into(), high.into()),
        FieldType::Id | FieldType::Time => (0, u64::MAX.into()),
        _ => return format!("`{operator}` is not an operator, and `{key}` has no order; use `{key}=` or `{key}!=`"),
    };
    let Ok(Operand::Range { low: number, high }) = operand(field, number) else {
        return format!("`{operator}` is not an operator; write a range, `{key}=low..high`");
    };
    let offset = i128::from(!is_inclusive);
    let (low, high) = if is_greater { (number + offset, greatest) } else { (least, high - offset) };
    if low > high {
        return format!("`{operator}` is not an operator, and no `{key}` is in that range");
    }
    let spelt = |number: i128| match field.field_type {
        FieldType::Time => Timestamp::from_nanos(number as u64).to_string(),
        _ => number.to_string(),
    };
    format!("`{operator}` is not an operator; write the range `{key}={}..{}`", spelt(low), spelt(high))
}

/// Formats the error of a value that a field cannot have.
fn wrong(field: &Field, text: &str, why: impl fmt::Display) -> String {
    format!("{}: `{text}` is {why}", field.key)
}

fn operand(field: &Field, text: &str) -> Result<Operand, String> {
    let wrong = |why: String| wrong(field, text, why);
    if text.is_empty() {
        return Err(wrong("empty; `-` matches an absent value".to_owned()));
    }
    if text == "-" {
        return Ok(Operand::Absent);
    }
    match (field.key, text.strip_suffix('/')) {
        ("cookie", _) if text == "mine" => return Ok(Operand::OwnSocket),
        ("cgroup", Some(id)) => return id_of(id).map(Operand::Subtree).map_err(wrong),
        _ => {}
    }
    match field.field_type {
        FieldType::Table { parse, names, .. } => {
            let Some(raw) = parse(text) else {
                let names = names();
                let near = did_you_mean(text, names.split(' '));
                return Err(if near.is_empty() {
                    wrong(format!("not one of {names}"))
                } else {
                    no_value(field, text, &near)
                });
            };
            Ok(Operand::exactly(raw.into()))
        }
        FieldType::Int { low, high } => range(text, |n| {
            let value = integer(n)?;
            let within = (i128::from(low)..=i128::from(high)).contains(&value);
            if within { Ok(value) } else { Err(format!("not in the range {low}..{high}")) }
        })
        .map_err(wrong),
        FieldType::Id => range(text, |n| id_of(n).map(i128::from)).map_err(wrong),
        FieldType::Time => range(text, |n| match n.parse::<Timestamp>() {
            Ok(ts) => Ok(ts.as_nanos().into()),
            Err(error) => Err(error.to_string()),
        })
        .map_err(wrong),
        FieldType::Flags => match text.parse::<TcpFlags>() {
            Ok(flags) => Ok(Operand::exactly(flags.0.into())),
            Err(error) => Err(wrong(error.to_string())),
        },
        FieldType::Flag if text == "yes" => Ok(Operand::exactly(1)),
        FieldType::Flag => Err(wrong("not `yes` or `-`".to_owned())),
        FieldType::Addr => prefix(text).map(Operand::Net).map_err(|problem| format!("{}: {problem}", field.key)),
        FieldType::KernelStr => {
            text.parse::<KernelStr>().map(Operand::KernelStr).map_err(|error| wrong(error.to_string()))
        }
        FieldType::Symbol => match KernelSymbol::new(text, 0) {
            Some(function) => Ok(Operand::Function(function)),
            None => text.parse::<KernelSymbol>().map(Operand::Symbol).map_err(|error| wrong(error.to_string())),
        },
    }
}

/// Formats the error like [`ParseReasonError`](crate::text::reason_table::ParseReasonError) does.
fn no_value(field: &Field, text: &str, near: &str) -> String {
    format!("{}={text}: no such value{near}", field.key)
}

fn id_of(text: &str) -> Result<u64, String> {
    integer(text)?;
    text.parse().map_err(|_| format!("not in the range 0..{}", u64::MAX))
}

/// Parses `n` or `low..high`.
fn range(text: &str, number: impl Fn(&str) -> Result<i128, String>) -> Result<Operand, String> {
    let Some((low, high)) = text.split_once("..") else {
        return number(text).map(Operand::exactly);
    };
    let (low, high) = (number(low)?, number(high)?);
    if low > high {
        return Err("a range that ends before it begins".to_owned());
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

/// Parses an address or a prefix. IPv4-mapped IPv6 addresses are treated as IPv4, as the key=value
/// line prints them.
fn prefix(text: &str) -> Result<IpNet, String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        let instead = if text.contains("..") { "; write prefixes instead of a range" } else { "" };
        return Err(format!("`{text}` is not an IP address or prefix{instead}"));
    };
    let net = match length {
        None => IpNet::from(address),
        Some(length) => {
            let (family, longest) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
            // One canonical form: no sign, no leading zero.
            let digits = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
            let net = length.parse::<u8>().ok().filter(|_| digits).and_then(|length| IpNet::new(address, length).ok());
            net.ok_or_else(|| format!("`{text}` has no valid prefix length: the maximum for {family} is {longest}"))?
        }
    };
    let net = as_printed(net);
    if net != net.trunc() {
        return Err(format!("{text}: host bits set; use {}", net.trunc()));
    }
    Ok(net)
}

fn as_printed(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => {
            let v4 = v6.addr().to_ipv4_mapped().and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - 96).ok());
            v4.map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_escaped() {
        for harmful in ["\x1b]52;c;x\x07", "\u{202e}", "\x7f", "\u{200b}"] {
            let escaped = Escaped::value(harmful).to_string();
            for text in [
                "%",
                "%=1",
                "result=%",
                "dport=%",
                "saddr=%",
                "saddr=10.0.0.1/%",
                "ts=%",
                "tcp_flags=%",
                "comm=%",
                "dport>%",
            ] {
                let error = text.replace('%', harmful).parse::<Filter>().expect_err(text).to_string();
                assert!(error.contains(&escaped) || !error.contains(harmful), "{error}");
                assert!(!error.contains(harmful), "{error:?}");
            }
        }
    }

    #[test]
    fn each_mistake_reports_its_column() {
        for (text, column, expected) in [
            ("dport", 1, "`dport` is not key=value"),
            ("  dport", 3, "`dport` is not key=value"),
            ("é=1", 1, "no key `é`; the keys are ts result"),
            ("result=success  stat=close", 17, "no key `stat`; did you mean `state`?"),
            ("restul=success", 1, "no key `restul`; did you mean `result`?"),
            ("result=succes", 8, "result=succes: no such value; did you mean `success`?"),
            ("result!=sucess", 9, "result=sucess: no such value; did you mean `success`?"),
            ("result=moon", 8, "result: `moon` is not one of err_default success"),
            ("dport>1024", 6, "`>` is not an operator; write the range `dport=1025..65535`"),
            ("dport>=1024", 6, "`>=` is not an operator; write the range `dport=1024..65535`"),
            ("dport<1024", 6, "`<` is not an operator; write the range `dport=0..1023`"),
            ("dport<=1024", 6, "write the range `dport=0..1024`"),
            ("dport=>1024", 6, "`>` is not an operator; write the range `dport=1025..65535`"),
            ("dport==443", 6, "`==` is not an operator; write `dport=443`"),
            ("dport!==443", 7, "write `dport!=443`"),
            ("dport>x", 6, "write a range, `dport=low..high`"),
            ("dport>", 6, "write a range, `dport=low..high`"),
            ("dport>-", 6, "write a range, `dport=low..high`"),
            ("dport>65535", 6, "no `dport` is in that range"),
            ("dport<0", 6, "no `dport` is in that range"),
            ("err<0", 4, "write the range `err=-2147483648..-1`"),
            ("cookie>5", 7, "write the range `cookie=6..18446744073709551615`"),
            ("cookie>18446744073709551615", 7, "no `cookie` is in that range"),
            ("ts>=1.5", 3, "write the range `ts=1.500000000..18446744073.709551615`"),
            ("state>close", 6, "`state` has no order; use `state=` or `state!=`"),
            ("daddr<10.0.0.0", 6, "`daddr` has no order"),
            ("prot>1", 1, "no key `prot`"),
            ("result!=success,Denied", 17, "did you mean `denied`?"),
            ("result=k1,k01", 11, "`k01` is not one of"),
            ("sport=1,70000", 9, "`70000` is not in the range 0..65535"),
            ("sport=70000..80000", 7, "not in the range 0..65535"),
            ("sport=9..1", 7, "a range that ends before it begins"),
            ("sport=1..", 7, "not an integer"),
            ("sport=+1", 7, "not an integer"),
            ("sport=", 7, "empty"),
            ("sport=1,", 9, "empty"),
            ("cookie=-1", 8, "not in the range 0..18446744073709551615"),
            ("cookie=18446744073709551616", 8, "not in the range"),
            ("daddr=10.0.0.0/33", 7, "daddr: `10.0.0.0/33` has no valid prefix length: the maximum for IPv4 is 32"),
            ("daddr=fd00::/129", 7, "the maximum for IPv6 is 128"),
            ("daddr=10.0.0.0/", 7, "no valid prefix length"),
            ("daddr=10.0.0.0/+8", 7, "no valid prefix length"),
            ("daddr=10.0.0.0/08", 7, "no valid prefix length"),
            ("daddr=1.1.1.1,10.1.2.3/8", 15, "daddr: 10.1.2.3/8: host bits set; use 10.0.0.0/8"),
            ("daddr=fd00::1/64", 7, "fd00::1/64: host bits set; use fd00::/64"),
            ("daddr=::ffff:10.1.2.3/104", 7, "host bits set; use 10.0.0.0/8"),
            ("daddr=ten/8", 7, "`ten/8` is not an IP address or prefix"),
            ("daddr=10.0.0.1..10.0.0.9", 7, "not an IP address or prefix; write prefixes instead of a range"),
            ("cgroup=5..6/", 8, "not an integer"),
            ("cgroup=/", 8, "not an integer"),
            ("cookie=5/", 8, "not an integer"),
            ("netns=mine", 7, "not an integer"),
            ("mapped=no", 8, "not `yes` or `-`"),
            ("tcp_flags=syn", 11, "not 0x"),
            ("ts=now", 4, "not a number of seconds"),
            ("ca_name=12345678901234567", 9, "not a percent-encoded text"),
            ("dport=1 dport=2", 9, "duplicate key `dport` in one clause; use a value list or --or"),
            ("dport=1 dport!=2", 9, "duplicate key `dport` in one clause; use a value list or --or"),
            ("--or dport=1", 1, "requires a term before and after"),
            ("dport=1 --or", 9, "requires a term before and after"),
            ("dport=1 --or --or sport=1", 14, "requires a term before and after"),
        ] {
            let error = text.parse::<Filter>().expect_err(text);
            assert_eq!(error.column(), column, "{text}: {error}");
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn exceeding_the_kernel_capacity_reports_the_column() {
        let outcome =
            |text: &str| text.parse::<Filter>().map(|_| ()).map_err(|error| (error.column(), error.to_string()));
        let clauses = |count| vec!["sport=1"; count].join(" --or ");
        assert_eq!(outcome(&clauses(16)), Ok(()));
        let (column, text) = outcome(&clauses(17)).expect_err("17");
        assert!(column == clauses(16).len() + 2 && text.contains("more than 16 clauses"), "{text}");

        let list = |key: &str, count: u64, end: &str| {
            let values: Vec<_> = (1..=count).map(|value| format!("{value}{end}")).collect();
            format!("{key}={}", values.join(","))
        };
        assert_eq!(outcome(&list("cookie", 512, "")), Ok(()));
        assert_eq!(outcome(&format!("{} sport=1", list("cookie", 511, ""))), Ok(()));
        let full = list("cookie", 512, "");
        let (column, text) = outcome(&format!("{full} sport=1")).expect_err("513");
        assert!(column == full.len() + 2 && text.contains("more than 512 values"), "{text}");

        assert_eq!(outcome(&list("cgroup", 16, "/")), Ok(()));
        assert_eq!(outcome(&format!("{0} --or {0}", list("cgroup", 16, "/"))), Ok(()), "they are the same");
        let (column, text) = outcome(&list("cgroup", 17, "/")).expect_err("17");
        assert!(column == 1 && text.contains("more than 16 different cgroup subtrees"), "{text}");
    }

    #[test]
    fn a_filter_prints_as_it_was_parsed() {
        for text in [
            "",
            "dport=443,8443 result!=success",
            "cgroup!=34/,7 cookie=mine",
            "comm=<idle>",
            "dport=1 --or dport=2 --or daddr=::1",
        ] {
            assert_eq!(text.parse::<Filter>().expect(text).to_string(), text);
        }
        let spaced: Filter = "  dport=1\t--or\n dport=2 ".parse().expect("white space is free");
        assert_eq!(spaced.to_string(), "dport=1 --or dport=2");
    }
}
