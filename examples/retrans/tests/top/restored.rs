// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal is restored however the program ends.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::screen::Screen;
use crate::terminal::Terminal;

const REPLAY: [&str; 2] = ["--replay", "recordings/lab.kv"];

#[test]
fn after_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let screen = Screen::of(100, 30, &REPLAY);
        screen.wait_for("success");
        screen.signal(signal);
        let ended = screen.end();
        assert!(ended.status.success() && ended.restored, "{signal:?}: {:?} {}", ended.status, ended.text);
    }
}

/// Without a terminal it must not continue, neither with the default action of SIGHUP nor if that
/// is ignored.
#[test]
fn a_hang_up_ends_the_program() {
    for disposition in ["--default-signal=HUP", "--ignore-signal=HUP"] {
        let command_line = [&["env", disposition, env!("CARGO_BIN_EXE_retrans"), "top"], &REPLAY[..]].concat();
        let screen = Screen::running(100, 30, &command_line, &[]);
        screen.wait_for("success");
        let status = screen.hang_up();
        match disposition {
            "--ignore-signal=HUP" => assert!(status.success(), "{status:?}"),
            _ => assert_eq!(status.signal(), Some(Signal::HUP.as_raw()), "{status:?}"),
        }
    }
}

/// Set in the process that panics, in a terminal of its own.
const PANICS: &str = "RETRANS_EXAMPLES_PANICS";

#[test]
fn after_a_panic() {
    if env::var_os(PANICS).is_some() {
        let mut terminal = Terminal::take_over().expect("a terminal");
        terminal.draw(|frame| frame.render_widget("taken over", frame.area())).expect("it is drawn");
        terminal.keys(Duration::from_secs(60)).expect("a key");
        panic!("as expected");
    }
    let this = env::current_exe().expect("this program");
    let command_line = [this.to_str().expect("a path"), "--exact", "restored::after_a_panic", "--nocapture"];
    let mut screen = Screen::running(100, 30, &command_line, &[(PANICS, "")]);
    screen.wait_for("taken over");
    screen.type_in("x");
    let ended = screen.end();
    assert!(!ended.status.success() && ended.restored, "{}", ended.text);
    // The message is on the main screen, where it stays readable.
    assert!(ended.text.contains("as expected"), "{}", ended.text);
}
