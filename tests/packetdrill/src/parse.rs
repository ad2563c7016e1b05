// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses scripts of packetdrill.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use retrans_lab::{Context, Error, Family, Result};

use crate::call::{Call, Expr, Field};
use crate::script::{Action, Flags, Icmp, Moment, Script, Segment, Step, TcpOption, Time};

/// Options of packetdrill that change only what it tolerates, or how it uses memory.
const IGNORED_OPTIONS: [&str; 3] = ["tolerance_usecs", "tcp_ts_tick_usecs", "send_omit_free"];

/// The longest time in a script.
const LONGEST: Duration = Duration::from_secs(600);

/// The number of lists and structures that may contain each other.
const DEEPEST: usize = 16;

/// Parses a script.
///
/// # Errors
/// Returns an error with the line of the first construct that is malformed or not supported.
pub fn parse(name: &str, text: &str) -> Result<Script> {
    let mut cursor = Cursor { text, at: 0, depth: 0 };
    cursor.script(name).map_err(|error| Error::new(format!("line {}: {error}", cursor.line())))
}

/// A position in the text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// The number of lists and structures around the position.
    depth: usize,
}

impl<'a> Cursor<'a> {
    fn script(&mut self, name: &str) -> Result<Script> {
        let mut families = Family::ALL.to_vec();
        let mut mss = None;
        while self.eat("--") {
            let option = self.take_while(|letter| !letter.is_whitespace());
            match option.split_once('=').unwrap_or((option, "")) {
                ("ip_version", "ipv4") => families.retain(|family| *family == Family::V4),
                ("ip_version", "ipv6") => families.retain(|family| *family == Family::V6),
                ("ip_version", "ipv4-mapped-ipv6") => families.retain(|family| *family == Family::Mapped),
                ("mss", value) => mss = Some(number(value)?),
                (name, _) if IGNORED_OPTIONS.contains(&name) => {}
                _ => return Err(Error::new(format!("option --{option} is not supported"))),
            }
        }
        if families.is_empty() {
            return Err(Error::new("the options leave no address family"));
        }
        let init = if self.eat("`") { Some(self.until("`")?.to_owned()) } else { None };
        let mut steps = Vec::new();
        while !self.is_at_end() {
            steps.push(self.step()?);
        }
        // A comment without an end reaches to the end of the text.
        if self.rest().starts_with("/*") {
            return Err(Error::new("*/ is missing"));
        }
        Ok(Script { name: name.to_owned(), families, mss, init, steps })
    }

    fn step(&mut self) -> Result<Step> {
        self.skip();
        let line = self.line();
        let time = self.time()?;
        let action = if self.eat("`") {
            Action::Command(self.until("`")?.to_owned())
        } else if self.eat("%{") {
            self.until("}%")?;
            Action::Assertion
        } else if self.eat("<") {
            self.packet()?
        } else if self.eat(">") {
            match self.packet()? {
                Action::Inject(segment) => Action::Expect(segment),
                _ => return Err(Error::new("an outbound packet that is not TCP is not supported")),
            }
        } else {
            Action::Call(self.call()?)
        };
        Ok(Step { line, time, action })
    }

    /// Parses a time, which is optional.
    fn time(&mut self) -> Result<Time> {
        if self.eat("*") {
            return Ok(Time { from: Moment::Any, to: None, blocks: false });
        }
        let is_relative = self.eat("+");
        let from = match self.duration()? {
            Some(from) if is_relative => Moment::After(from),
            Some(from) => Moment::At(from),
            None if is_relative => return Err(Error::new("no number after +")),
            None => Moment::After(Duration::ZERO),
        };
        let blocks = self.eat("...");
        if !blocks && !self.eat("~") {
            return Ok(Time { from, to: None, blocks });
        }
        self.eat("+");
        let to = self.duration()?.ok_or_else(|| Error::new("no end of a range of time"))?;
        Ok(Time { from, to: Some(to), blocks })
    }

    /// Parses seconds with an optional fraction.
    fn duration(&mut self) -> Result<Option<Duration>> {
        self.skip();
        let rest = self.rest();
        let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
        let mut end = digits(0);
        // In `0...0.1` the first dot does not belong to the number.
        if rest[end..].starts_with('.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if end == 0 {
            return Ok(None);
        }
        self.at += end;
        let seconds: f64 = number(&format!("0{}", &rest[..end]))?;
        let time = Duration::try_from_secs_f64(seconds).context("a time")?;
        match time <= LONGEST {
            true => Ok(Some(time)),
            false => Err(Error::new(format!("{seconds} seconds are more than {}", LONGEST.as_secs()))),
        }
    }

    fn packet(&mut self) -> Result<Action> {
        let mut ecn = 0;
        while self.eat("[") {
            ecn = match self.until("]")?.trim() {
                "noecn" => 0,
                "ect1" => 1,
                "ect0" => 2,
                "ce" => 3,
                other => return Err(Error::new(format!("[{other}] in a packet is not supported"))),
            };
        }
        if self.eat("icmp") {
            return self.icmp().map(Action::Icmp);
        }
        self.skip();
        let letters = self.take_while(|letter| !letter.is_whitespace());
        let flags = Flags::parse(letters).ok_or_else(|| Error::new(format!("{letters:?} are not TCP flags")))?;
        let (seq, len) = self.range()?;
        let mut segment = Segment { ecn, flags, seq, len, ..Segment::default() };
        loop {
            if self.eat("ack ") {
                segment.ack = self.number()?;
            } else if self.eat("win ") {
                segment.window = self.number()?;
            } else if self.eat("urg ") {
                segment.urgent = self.number()?;
            } else if self.eat("<") {
                segment.options = options(self.until(">")?)?;
                return Ok(Action::Inject(segment));
            } else {
                return Ok(Action::Inject(segment));
            }
        }
    }

    /// Parses `seq:end(len)`, and returns the first and the last number.
    fn range(&mut self) -> Result<(u32, u32)> {
        let seq: u32 = self.number()?;
        self.expect(":")?;
        let end: u32 = self.number()?;
        self.expect("(")?;
        let len: u32 = self.number()?;
        self.expect(")")?;
        match seq.wrapping_add(len) == end {
            true => Ok((seq, len)),
            false => Err(Error::new(format!("{seq}:{end} is not {len} bytes long"))),
        }
    }

    fn icmp(&mut self) -> Result<Icmp> {
        let kind = self.word()?;
        let code = if self.rest().trim_start().starts_with('[') { "" } else { self.word()? };
        // A code of one family only is an error that the other family does not have.
        let (v4, v6) = match (kind, code) {
            ("unreachable", "") => (Some((3, 0)), Some((1, 0))),
            ("unreachable", "net_unreachable") => (Some((3, 0)), None),
            ("unreachable", "host_unreachable") => (Some((3, 1)), None),
            ("unreachable", "protocol_unreachable") => (Some((3, 2)), None),
            ("unreachable", "port_unreachable") => (Some((3, 3)), Some((1, 4))),
            ("unreachable", "frag_needed") => (Some((3, 4)), None),
            ("unreachable", "source_route_failed") => (Some((3, 5)), None),
            ("unreachable", "no_route") => (None, Some((1, 0))),
            ("unreachable", "admin_prohibited") => (Some((3, 10)), Some((1, 1))),
            ("unreachable", "addr_unreachable") => (None, Some((1, 3))),
            ("packet_too_big", "" | "mtu") => (None, Some((2, 0))),
            ("time_exceeded", "") => (Some((11, 0)), Some((3, 0))),
            _ => return Err(Error::new(format!("icmp {kind} {code} is not supported"))),
        };
        let mtu = if code == "mtu" || self.eat("mtu ") { self.number()? } else { 0 };
        self.expect("[")?;
        let (seq, len) = self.range()?;
        self.expect("]")?;
        Ok(Icmp { v4, v6, mtu, seq, len })
    }

    fn call(&mut self) -> Result<Call> {
        let begin = self.at;
        let name = self.word()?;
        self.expect("(")?;
        let arguments = self.list(")")?;
        let text = self.text[begin..self.at].split_whitespace().collect::<Vec<_>>().join(" ");
        self.expect("=")?;
        let result = if self.eat("?") { None } else { Some(self.integer()?) };
        self.skip();
        let errno = if self.rest().starts_with('E') { Some(self.word()?.to_owned()) } else { None };
        if self.eat("(") {
            self.until(")")?;
        }
        Call::new(name, arguments, text, result, errno)
    }

    /// Parses expressions up to this end. A name before `=` is left out: the position decides.
    fn list(&mut self, end: &str) -> Result<Vec<Expr>> {
        self.enter()?;
        let mut all = Vec::new();
        while !self.eat(end) {
            all.push(self.expr()?);
            if !self.eat(",") {
                self.expect(end)?;
                break;
            }
        }
        self.depth -= 1;
        Ok(all)
    }

    fn expr(&mut self) -> Result<Expr> {
        let first = self.operand()?;
        if !self.rest().trim_start().starts_with('|') {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.eat("|") {
            all.push(self.operand()?);
        }
        Ok(Expr::Or(all))
    }

    fn operand(&mut self) -> Result<Expr> {
        if self.eat("...") {
            Ok(Expr::Any)
        } else if self.eat("\"") {
            Ok(Expr::Bytes(bytes(self.until("\"")?)?))
        } else if self.eat("[") {
            self.list("]").map(Expr::List)
        } else if self.eat("{") {
            self.fields().map(Expr::Struct)
        } else if self.rest().starts_with(|letter: char| letter == '-' || letter.is_ascii_digit()) {
            self.integer().map(Expr::Int)
        } else {
            Ok(Expr::Name(self.word()?.to_owned()))
        }
    }

    /// Parses the fields of a structure: values with or without a name. A name may be followed by a
    /// length, as in `msg_iov(2)=…`.
    fn fields(&mut self) -> Result<Vec<Field>> {
        self.enter()?;
        let mut fields = Vec::new();
        while !self.eat("}") {
            let mut value = self.expr()?;
            if self.eat("(") {
                self.until(")")?;
            }
            let name = match &value {
                Expr::Name(name) if self.eat("=") => Some(name.clone()),
                _ => None,
            };
            if name.is_some() {
                value = self.expr()?;
            }
            fields.push(Field { name: name.unwrap_or_default(), value });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        self.depth -= 1;
        Ok(fields)
    }

    /// Enters a list or a structure. Without a limit the input would decide the depth of the stack.
    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(Error::new("too many levels of lists")) } else { Ok(()) }
    }

    fn integer(&mut self) -> Result<i64> {
        let is_negative = self.eat("-");
        self.skip();
        let word = self.take_while(|letter| letter.is_ascii_alphanumeric());
        let value = match word.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).with_context(|| format!("number {word:?}"))?,
            None => number(word)?,
        };
        Ok(if is_negative { -value } else { value })
    }

    fn number<T: FromStr<Err: fmt::Display>>(&mut self) -> Result<T> {
        self.skip();
        number(self.take_while(|letter| letter.is_ascii_digit()))
    }

    fn word(&mut self) -> Result<&'a str> {
        self.skip();
        match self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            "" => Err(Error::new(format!("unexpected {:?}", self.rest().chars().take(20).collect::<String>()))),
            word => Ok(word),
        }
    }

    fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter| !matches(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Returns the text up to this end, and passes the end.
    fn until(&mut self, end: &str) -> Result<&'a str> {
        let (text, _) = self.rest().split_once(end).ok_or_else(|| Error::new(format!("{end} is missing")))?;
        self.at += text.len() + end.len();
        Ok(text)
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        match self.eat(token) {
            true => Ok(()),
            false => Err(Error::new(format!("{token} is missing"))),
        }
    }

    /// Skips space and comments, and then this token if it is next.
    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    fn skip(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|letter| letter != '\n');
            } else if let Some((comment, _)) = self.rest().strip_prefix("/*").and_then(|rest| rest.split_once("*/")) {
                self.at += 2 + comment.len() + 2;
            } else {
                return;
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty() || self.rest().starts_with("/*")
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }
}

fn number<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| Error::new(format!("number {text:?}: {error}")))
}

/// Returns the bytes of a string with escapes such as `\xa1`.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut parts = text.split("\\x");
    let mut all = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2).ok_or_else(|| Error::new("a byte after \\x is missing"))?;
        all.extend(hex(byte)?);
        all.extend(rest.bytes());
    }
    Ok(all)
}

/// Returns the bytes of a text in hexadecimal.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<_> = text.chars().map(|letter| letter.to_digit(16)).collect();
    let byte = |pair: &[Option<u32>]| match *pair {
        [Some(high), Some(low)] => Some((high * 16 + low) as u8),
        _ => None,
    };
    let all: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    all.ok_or_else(|| Error::new(format!("{text:?} is not hexadecimal")))
}

/// Parses the options between `<` and `>`.
fn options(text: &str) -> Result<Vec<TcpOption>> {
    text.split(',').map(|option| self::option(option.split_whitespace().collect::<Vec<_>>().as_slice())).collect()
}

fn option(words: &[&str]) -> Result<TcpOption> {
    Ok(match *words {
        ["eol"] => TcpOption::End,
        ["nop"] => TcpOption::Nop,
        ["mss", size] => TcpOption::Mss(number(size)?),
        ["wscale", scale] => TcpOption::Scale(number(scale)?),
        ["sackOK"] => TcpOption::SackPermitted,
        ["sack", ref blocks @ ..] => {
            let block = |text: &&str| {
                let (begin, end) = text.split_once(':').ok_or_else(|| Error::new("a SACK block without :"))?;
                Ok((number(begin)?, number(end)?))
            };
            TcpOption::Sack(blocks.iter().map(block).collect::<Result<_>>()?)
        }
        ["TS", "val", value, "ecr", echo] => TcpOption::Timestamp(number(value)?, number(echo)?),
        ["FO", ref cookie @ ..] => TcpOption::Fastopen(cookie.concat()),
        ["FOEXP", ref cookie @ ..] => TcpOption::FastopenExperimental(cookie.concat()),
        ["md5", digest] => TcpOption::Md5(hex(digest)?),
        ["ECN", ref fields @ ..] => {
            // The order of the counters decides the kind of the option (RFC 9768).
            let kind = if fields.first() == Some(&"e1b") { 174 } else { 172 };
            let counters = fields.iter().skip(1).step_by(2).map(|value| number(value));
            TcpOption::AccurateEcn(kind, counters.collect::<Result<_>>()?)
        }
        ["..."] => TcpOption::Any,
        _ => return Err(Error::new(format!("TCP option {words:?} is not supported"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Op;

    fn steps(text: &str) -> Vec<Step> {
        parse("test", text).unwrap().steps
    }

    fn refusal(text: &str) -> String {
        parse("test", text).unwrap_err().to_string()
    }

    fn call(text: &str) -> Call {
        match steps(text).remove(0).action {
            Action::Call(call) => call,
            other => panic!("{other:?}"),
        }
    }

    fn segment(text: &str) -> Segment {
        match steps(text).remove(0).action {
            Action::Inject(segment) | Action::Expect(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_script_consists_of_options_commands_and_steps() {
        let text = "// A comment.\n--ip_version=ipv4\n--mss=1000 // one more\n--tolerance_usecs=7\n\
             `./defaults.sh\nsysctl -q a=\"b // c\"`\n /* a\n comment */ 0 close(3) = 0\n\
             +0 %{ assert tcpi_cwnd == 10, {'a': 1} }%\n+.5 `true`\n* > . 1:1(0) ack 1\n`/tmp/end`\n";
        let script = parse("name", text).unwrap();
        assert_eq!((script.name.as_str(), script.mss), ("name", Some(1000)));
        assert_eq!(script.families, [Family::V4]);
        assert_eq!(script.init.as_deref(), Some("./defaults.sh\nsysctl -q a=\"b // c\""));
        let lines: Vec<_> = script.steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [8, 9, 10, 11, 12]);
        assert_eq!(script.steps[1].action, Action::Assertion);
        assert_eq!(script.steps[2].action, Action::Command("true".to_owned()));
        assert_eq!(script.steps[4].action, Action::Command("/tmp/end".to_owned()));
        assert_eq!(parse("none", "").unwrap().families, Family::ALL);
    }

    #[test]
    fn times_are_relative_absolute_ranges_or_ends_of_blocking_calls() {
        let time = |text: &str| steps(&format!("{text} close(3) = 0"))[0].time;
        let millis = Duration::from_millis;
        let plain = |from| Time { from, to: None, blocks: false };
        assert_eq!(time("0"), plain(Moment::At(Duration::ZERO)));
        assert_eq!(time("1.25"), plain(Moment::At(millis(1250))));
        assert_eq!(time("+.1"), plain(Moment::After(millis(100))));
        assert_eq!(time("+0"), plain(Moment::After(Duration::ZERO)));
        assert_eq!(time("*"), plain(Moment::Any));
        let range = |from, to, blocks| Time { from, to: Some(millis(to)), blocks };
        assert_eq!(time("+.3~+.400"), range(Moment::After(millis(300)), 400, false));
        assert_eq!(time("0.1~0.2"), range(Moment::At(millis(100)), 200, false));
        assert_eq!(time("+0...0.300"), range(Moment::After(Duration::ZERO), 300, true));
        assert_eq!(time("+.01...0.011"), range(Moment::After(millis(10)), 11, true));
        assert_eq!(time("+.002 ... 3.1"), range(Moment::After(millis(2)), 3100, true));
        assert!(refusal("+ close(3) = 0").contains("no number after +"));
    }

    #[test]
    fn segments_have_flags_numbers_and_options() {
        let syn = segment("+0 < [ect0] SEWA 7:17(10) win 32792 <mss 1000,sackOK,nop,nop,wscale 10,FO TFO_COOKIE>");
        let flags = Flags(Flags::SYN.0 | Flags::ECE.0 | Flags::CWR.0 | Flags::AE.0);
        assert_eq!((syn.ecn, syn.flags, syn.seq, syn.len), (2, flags, 7, 10));
        assert_eq!((syn.window, syn.ack), (32792, 0));
        let fastopen = TcpOption::Fastopen("TFO_COOKIE".to_owned());
        let nop = TcpOption::Nop;
        let expected =
            [TcpOption::Mss(1000), TcpOption::SackPermitted, nop.clone(), nop, TcpOption::Scale(10), fastopen];
        assert_eq!(syn.options, expected);
        let data = segment("+0 > P.5 1:1001(1000) ack 4294967295 urg 9 <TS val 1 ecr 2,sack 1:2 3:4>");
        let flags = Flags(Flags::PSH.0 | Flags::ACK.0 | Flags::AE.0 | Flags::ECE.0);
        assert_eq!((data.flags, data.ack, data.urgent), (flags, u32::MAX, 9));
        assert_eq!(data.options, [TcpOption::Timestamp(1, 2), TcpOption::Sack(vec![(1, 2), (3, 4)])]);
        assert_eq!(data.to_string(), "EAP. 1:1001(1000) ack 4294967295");
        assert_eq!(segment("< - 1:1(0) win 5").flags, Flags::default());
        assert_eq!(segment("> S 0:0(0) <...>").options, [TcpOption::Any]);
        let counters = segment("> . 1:1(0) ack 1 <ECN e1b 1 ceb 0 e0b 9,nop>").options.remove(0);
        assert_eq!(counters, TcpOption::AccurateEcn(174, vec![1, 0, 9]));
        assert!(refusal("< X 1:1(0)").contains("not TCP flags"));
        assert!(refusal("\n< . 1:2(0)").starts_with("line 2: 1:2 is not 0 bytes long"));
        assert!(refusal("< . 1:1(0) <zzz 1>").contains("not supported"));
        assert!(refusal("> icmp unreachable [0:1(1)]").contains("not TCP"));
    }

    #[test]
    fn icmp_errors_have_numbers_in_both_families() {
        let icmp = |text: &str| match steps(text).remove(0).action {
            Action::Icmp(icmp) => icmp,
            other => panic!("{other:?}"),
        };
        let v4 = icmp("+0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]");
        assert_eq!(v4, Icmp { v4: Some((3, 4)), v6: None, mtu: 1200, seq: 1, len: 1460 });
        let v6 = icmp("+0 < icmp packet_too_big mtu 1280 [0:0(0)]");
        assert_eq!(v6, Icmp { v4: None, v6: Some((2, 0)), mtu: 1280, seq: 0, len: 0 });
        let any = icmp("+0 < icmp unreachable [5:6(1)]");
        assert_eq!((any.v4, any.v6, any.mtu), (Some((3, 0)), Some((1, 0)), 0));
        assert!(refusal("+0 < icmp redirect [0:0(0)]").contains("icmp redirect"));
    }

    #[test]
    fn system_calls_are_interpreted() {
        let connect = call("+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n+0 close(3) = 0");
        assert_eq!((connect.op, connect.result), (Op::Connect { fd: 3 }, Some(-1)));
        assert_eq!(connect.text, "connect(3, ..., ...)");
        assert_eq!(call("0 connect(4, AF_UNSPEC, ...) = 0").op, Op::Disconnect { fd: 4 });
        assert_eq!(call("0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)").result, Some(2));
        let send =
            call("0 sendmsg(4, {msg_name(...)=...,\n msg_iov(2)=[{..., 1}, {...,20}], msg_flags=0}, MSG_EOR) = 21");
        let flags = nix::libc::MSG_EOR;
        assert_eq!(send.op, Op::Send { fd: 4, lens: Some(vec![1, 20]), flags, connects: false });
        assert_eq!(call("0 write(4, NULL, 5) = -1").op, Op::Send { fd: 4, lens: None, flags: 0, connects: false });
        let set = |text: &str| match call(text).op {
            Op::SetOption { value, .. } => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(set("0 setsockopt(3, SOL_IP, IP_TOS, [4], 1) = 0"), [4]);
        assert_eq!(set("0 setsockopt(3, SOL_TCP, TCP_FASTOPEN_KEY, \"\\xa1b\", 3) = 0"), [0xa1, b'b', 0]);
        let either = set(
            "0 setsockopt(3, SOL_SOCKET, SO_TIMESTAMPING, [SOF_TIMESTAMPING_TX_SOFTWARE |\n SOF_TIMESTAMPING_OPT_ID], 4) = 0",
        );
        assert_eq!(either, 130_i32.to_ne_bytes());
        assert_eq!(call("0 pipe([5, 6]) = 0").op, Op::Pipe { ends: [5, 6] });
        let wait = call("0 epoll_wait(5, {events=EPOLLERR|EPOLLOUT, fd=4}, 1, 20) = 1").op;
        assert_eq!(wait, Op::EpollWait { epoll: 5, limit: Duration::from_millis(20) });
        assert!(refusal("0 fork() = 0").contains("the system call is not supported"));
        assert!(refusal("0 ioctl(3, SIOCX, [1]) = 0").contains("SIOCX is not known"));
        assert!(refusal("--dry_run\n").contains("--dry_run is not supported"));
        assert!(refusal("0 close(3 = 0").starts_with("line 1: "));
        let failing = call("0 read(3, ..., 1) = -1 EAGAIN (Resource temporarily unavailable)");
        assert_eq!((failing.result, failing.errno.as_deref()), (Some(-1), Some("EAGAIN")));
    }

    #[test]
    fn a_script_cannot_exhaust_memory_time_or_the_stack() {
        let deep = format!("0 setsockopt(3, SOL_IP, IP_TOS, {}", "[".repeat(1_000_000));
        assert!(refusal(&deep).contains("too many levels"));
        for length in ["-1", "70368744177664"] {
            for call in
                ["write(4, ..., LENGTH)", "setsockopt(3, SOL_IP, IP_TOS, [1], LENGTH)", "sendfile(3, 4, [0], LENGTH)"]
            {
                let text = format!("0 {} = 0", call.replace("LENGTH", length));
                assert!(refusal(&text).contains("is not a length"), "{text}");
            }
        }
        assert!(refusal("+601 close(3) = 0").contains("more than 600"));
        assert!(refusal("+99999999999999999999 close(3) = 0").starts_with("line 1: "));
        assert!(refusal("0 close(3) = 0\n/* no end").contains("*/ is missing"));
        assert!(refusal("--ip_version=ipv4 --ip_version=ipv6\n").contains("no address family"));
        assert!(refusal("0 socket(..., SOCK_STREAM, IPPROTO_MPTCP) = 3").contains("MPTCP"));
    }
}
