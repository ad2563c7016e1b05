// SPDX-License-Identifier: MIT OR Apache-2.0
//! Assembles the lines of trace_pipe: an event, and the call stack that the kernel prints after it.

use super::TraceEvent;
use super::line::task;
use crate::Result;

/// The text after the head of the first line of a call stack.
const STACK: &str = ": <stack trace>";

/// The prefix of the line of one function.
const FUNCTION: &str = " => ";

/// The events whose call stacks may still follow.
///
/// The kernel prints the entries of all CPUs in the order of time. So entries of other CPUs may
/// separate an event from its call stack. On the same CPU an interrupt may do so, whose own event
/// and call stack are complete. So a call stack belongs to the last event of its CPU and its task
/// without one.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// In the order of the pipe.
    events: Vec<Awaited>,
    /// The index of the event whose call stack is being read.
    open: Option<usize>,
}

/// The CPU and its current task.
type Place = (Option<u32>, Option<u32>);

#[derive(Debug)]
struct Awaited {
    event: TraceEvent,
    at: Place,
    has_stack: bool,
}

impl Assembler {
    /// Adds a line.
    ///
    /// # Errors
    /// Returns an error if a line of a traced tracepoint is malformed.
    pub(super) fn add(&mut self, line: &str) -> Result<()> {
        if let Some(function) = line.strip_prefix(FUNCTION) {
            if let Some(index) = self.open {
                self.events[index].event.callers.push(function_name(function).to_owned());
            }
            return Ok(());
        }
        self.open = None;
        if let Some(head) = line.strip_suffix(STACK) {
            let at = (cpu(head), task(head));
            self.open = self.events.iter().rposition(|awaited| awaited.at == at && !awaited.has_stack);
            if let Some(index) = self.open {
                self.events[index].has_stack = true;
            }
        } else if let Some(event) = TraceEvent::parse(line)? {
            let at = (cpu(line), event.task);
            self.events.push(Awaited { event, at, has_stack: false });
        }
        Ok(())
    }

    /// Returns the events that have no call stack yet.
    pub(super) fn without_stack(&self) -> impl Iterator<Item = &TraceEvent> {
        self.events.iter().filter(|awaited| !awaited.has_stack).map(|awaited| &awaited.event)
    }

    /// Removes and returns all events.
    pub(super) fn take(&mut self) -> impl Iterator<Item = TraceEvent> + use<> {
        self.open = None;
        std::mem::take(&mut self.events).into_iter().map(|awaited| awaited.event)
    }
}

/// Returns the name of a function without its module, its address, its offset, and the suffixes
/// that compilers add to copies and parts of a function.
fn function_name(text: &str) -> &str {
    let name = text.trim_start().split([' ', '+']).next().unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

/// `name-123   [001] ..s1. 5.000000`. The name may contain anything, so the last match counts.
fn cpu(line: &str) -> Option<u32> {
    let number = |at: usize| line[at + 2..].split(']').next()?.parse().ok();
    // The text of an event contains no bracket.
    number(line.rfind(" [")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the events of a text.
    fn events(text: &str) -> Vec<TraceEvent> {
        let mut assembler = Assembler::default();
        text.lines().for_each(|line| assembler.add(line).unwrap());
        assembler.take().collect()
    }

    fn event(cpu: u32, sport: u16) -> String {
        format!(
            "          <idle>-0       [00{cpu}] ..s2.  1234.567890: tcp_retransmit_skb: sport={sport} dport=443 \
             saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED\n"
        )
    }

    fn stack(cpu: u32, functions: &[&str]) -> String {
        let functions: String = functions.iter().map(|name| format!(" => {name}\n")).collect();
        format!("          <idle>-0       [00{cpu}] ..s2.  1234.567893: <stack trace>\n{functions}")
    }

    #[test]
    fn a_stack_follows_its_event() {
        let text = event(1, 1) + &stack(1, &["__tcp_retransmit_skb", "tcp_retransmit_skb"]) + &event(1, 2);
        let events = events(&text);
        assert_eq!(events[0].callers, ["__tcp_retransmit_skb", "tcp_retransmit_skb"]);
        assert!(events[1].callers.is_empty());
    }

    #[test]
    fn another_cpu_and_an_interrupt_come_in_between() {
        let text =
            event(0, 1) + &event(1, 2) + &stack(0, &["a"]) + &event(1, 3) + &stack(1, &["c"]) + &stack(1, &["b"]);
        let found: Vec<_> = events(&text).into_iter().map(|event| (event.sport, event.callers.join(" "))).collect();
        assert_eq!(found, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
    }

    #[test]
    fn a_stack_without_an_event_is_of_another_tracepoint_or_lost() {
        let text = stack(0, &["a"]) + &event(0, 1) + "CPU:0 [LOST 2 EVENTS]\n => b\n" + &stack(0, &["c"]);
        assert_eq!(events(&text)[0].callers, ["c"]);
    }

    #[test]
    fn names_lose_what_the_compiler_and_the_options_add() {
        let text = "tcp_write_timer_handler.part.0 => tcp_ack.isra.54 => tcp_retransmit_timer+0x42/0x980 \
            => tcp_v6_err [ipv6] => tcp_ack.constprop.0.isra.1 <ffffffff81a2b3c4>";
        let names: Vec<_> = text.split(" => ").map(function_name).collect();
        assert_eq!(names, ["tcp_write_timer_handler", "tcp_ack", "tcp_retransmit_timer", "tcp_v6_err", "tcp_ack"]);
    }

    #[test]
    fn the_cpu_is_after_the_name() {
        assert_eq!(cpu("   [007] x-12      [003] ..s1.     5.000000: <stack trace>"), Some(3));
        // With the option `latency-format` there is no such field.
        assert_eq!(cpu("  <idle>-0       0..s2. 5us : <stack trace>"), None);
    }
}
