// SPDX-License-Identifier: MIT OR Apache-2.0
//! libbpf writes to the process's stderr. Here what it says is caught, to stand in an error, and other users of libbpf in
//! the same process keep the printer that they set.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{PrintCallback, PrintLevel, get_print, set_print};

thread_local! {
    /// What libbpf said on this thread, while somebody listens.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

type Printer = Option<(PrintLevel, PrintCallback)>;

/// How many listen. Held while the printer is changed, and never taken by a printer: libbpf-rs calls printers with the
/// lock held that `set_print` and `get_print` take.
static USERS: Mutex<usize> = Mutex::new(0);

/// The printer to go back to. A leaf: nothing else is locked or called while it is held.
static PREVIOUS: Mutex<Printer> = Mutex::new(None);

fn users() -> std::sync::MutexGuard<'static, usize> {
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn previous() -> std::sync::MutexGuard<'static, Printer> {
    PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(level: PrintLevel, message: String) {
    let caught = HEARD.with_borrow_mut(|heard| heard.as_mut().map(|text| text.push_str(&message)).is_some());
    if !caught {
        let previous = *previous();
        if let Some((_, print)) = previous.filter(|(most, _)| level <= *most) {
            print(level, message);
        }
    }
}

/// Runs `work` and gives, beside its result, what libbpf said meanwhile on this thread.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> (T, String) {
    struct Listening(Option<String>);
    impl Drop for Listening {
        fn drop(&mut self) {
            HEARD.with_borrow_mut(|heard| std::mem::swap(heard, &mut self.0));
            let mut users = users();
            *users -= 1;
            // Unless somebody has set another printer since.
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
            set_print(Some((PrintLevel::Info, listen)));
        }
        *users += 1;
    }
    let mut listening = Listening(Some(String::new()));
    HEARD.with_borrow_mut(|heard| std::mem::swap(heard, &mut listening.0));
    let result = work();
    let said = HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take)).unwrap_or_default();
    (result, said)
}

fn is_ours(printer: Option<(PrintLevel, PrintCallback)>) -> bool {
    printer.is_some_and(|(_, print)| std::ptr::fn_addr_eq(print, listen as PrintCallback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libbpf_says_is_heard_and_the_printer_is_put_back() {
        let before = get_print();
        let (opened, said) = quietly(|| libbpf_rs::btf::Btf::from_raw("nonsense", b"not an object").is_ok());
        assert!(!opened);
        assert!(said.contains("nonsense"), "{said}");
        assert_eq!(before.is_some(), get_print().is_some());
        assert!(!is_ours(get_print()));
    }
}
