// SPDX-License-Identifier: MIT OR Apache-2.0
//! Captures libbpf's log for errors, since libbpf prints to the process's stderr. Other users of
//! libbpf in the process keep their printer.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{PrintCallback, PrintLevel, get_print, set_print};

thread_local! {
    /// The log of this thread, while it is captured.
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
}

type Printer = Option<(PrintLevel, PrintCallback)>;

/// The number of captures. Locked while the printer is changed, and never by a printer: libbpf-rs
/// calls printers with the lock held that `set_print` and `get_print` acquire.
static USERS: Mutex<usize> = Mutex::new(0);

/// The printer to restore. While it is locked, nothing else is locked or called.
static PREVIOUS: Mutex<Printer> = Mutex::new(None);

fn users() -> std::sync::MutexGuard<'static, usize> {
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn previous() -> std::sync::MutexGuard<'static, Printer> {
    PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print_captured(level: PrintLevel, message: String) {
    let is_captured =
        CAPTURED.with_borrow_mut(|captured| captured.as_mut().map(|text| text.push_str(&message)).is_some());
    if !is_captured {
        let previous = *previous();
        if let Some((_, print)) = previous.filter(|(most, _)| level <= *most) {
            print(level, message);
        }
    }
}

/// Runs `work` and returns its result and the log of libbpf on this thread.
pub(super) fn capture_log<T>(work: impl FnOnce() -> T) -> (T, String) {
    struct Capture(Option<String>);
    impl Drop for Capture {
        fn drop(&mut self) {
            CAPTURED.with_borrow_mut(|captured| std::mem::swap(captured, &mut self.0));
            let mut users = users();
            *users -= 1;
            // Keep another printer that was set since.
            if *users == 0 && is_ours(get_print()) {
                let before = *previous();
                set_print(before);
            }
        }
    }

    {
        let mut users = users();
        if *users == 0 {
            let before = get_print();
            *previous() = before;
            set_print(Some((PrintLevel::Info, print_captured)));
        }
        *users += 1;
    }
    let mut capture = Capture(Some(String::new()));
    CAPTURED.with_borrow_mut(|captured| std::mem::swap(captured, &mut capture.0));
    let result = work();
    let log = CAPTURED.with_borrow_mut(|captured| captured.as_mut().map(std::mem::take)).unwrap_or_default();
    (result, log)
}

/// Runs `work` without libbpf's log.
///
/// For files from outside the program: libbpf's messages contain names from the file, and libbpf-rs
/// aborts the process if a message is not UTF-8. `work` must not capture the log. What other
/// threads capture in this time may be incomplete.
pub(super) fn without_log<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(Printer);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_print(self.0);
        }
    }

    // No capture begins or ends in this time.
    let _users = users();
    let _restore = Restore(get_print());
    set_print(None);
    work()
}

fn is_ours(printer: Option<(PrintLevel, PrintCallback)>) -> bool {
    printer.is_some_and(|(_, print)| std::ptr::fn_addr_eq(print, print_captured as PrintCallback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_captured_and_the_printer_restored() {
        let before = get_print();
        let (opened, log) = capture_log(|| libbpf_rs::btf::Btf::from_raw("nonsense", b"not an object").is_ok());
        assert!(!opened);
        assert!(log.contains("nonsense"), "{log}");
        assert_eq!(before.is_some(), get_print().is_some());
        assert!(!is_ours(get_print()));
    }

    #[test]
    fn nothing_is_logged_without_log() {
        let before = get_print().is_some();
        let (opened, log) =
            capture_log(|| without_log(|| libbpf_rs::btf::Btf::from_raw("nonsense", b"not an object").is_ok()));
        assert_eq!((opened, log.as_str()), (false, ""));
        assert_eq!(before, get_print().is_some());
    }
}
