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

struct Hook {
    users: usize,
    previous: Option<(PrintLevel, PrintCallback)>,
}

static HOOK: Mutex<Hook> = Mutex::new(Hook { users: 0, previous: None });

fn hook() -> std::sync::MutexGuard<'static, Hook> {
    HOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(level: PrintLevel, message: String) {
    let caught = HEARD.with_borrow_mut(|heard| heard.as_mut().map(|text| text.push_str(&message)).is_some());
    if !caught {
        let previous = hook().previous;
        if let Some((most, print)) = previous.filter(|(most, _)| level <= *most) {
            let _ = most;
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
            let mut hook = hook();
            hook.users -= 1;
            // Unless somebody has set another printer since.
            if hook.users == 0 && is_ours(get_print()) {
                set_print(hook.previous.take());
            }
        }
    }

    {
        let mut hook = hook();
        if hook.users == 0 {
            hook.previous = get_print();
            set_print(Some((PrintLevel::Info, listen)));
        }
        hook.users += 1;
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
