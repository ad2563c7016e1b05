// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles keys: changes what is shown, or returns an action.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use retrans_sdk::Filter;

use crate::top::entry::Entry;
use crate::top::remotes::Order;

/// The number of rows per page.
const PAGE: usize = 10;

/// The user's choices for the display.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub(crate) mode: Mode,
    pub(crate) order: Order,
    /// True if the droppers are shown instead of the addresses.
    pub(crate) droppers: bool,
    /// The number of rows above the first one shown, limited by the number of rows.
    pub(crate) scrolled: usize,
}

#[derive(Debug, Default)]
pub(crate) enum Mode {
    #[default]
    Plain,
    Help,
    Filter(Entry),
}

/// An action that changes more than the display.
#[derive(Debug)]
pub(crate) enum Action {
    Quit,
    /// Pauses or resumes the display.
    Pause,
    /// Opens the source again with this filter.
    Filter(Filter),
}

impl Choices {
    /// Handles a key. `filter` is the current filter.
    pub(crate) fn on_key(&mut self, key: KeyEvent, filter: &Filter) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Action::Quit);
        }
        match &mut self.mode {
            Mode::Plain => return self.on_plain_key(key, filter),
            // Any key closes the help.
            Mode::Help => self.mode = Mode::Plain,
            Mode::Filter(entry) => match key.code {
                KeyCode::Esc => self.mode = Mode::Plain,
                // A malformed filter stays in the entry, with its error.
                KeyCode::Enter => {
                    if let Ok(filter) = &entry.parsed {
                        let action = Action::Filter(filter.clone());
                        self.mode = Mode::Plain;
                        self.scrolled = 0;
                        return Some(action);
                    }
                }
                _ => entry.edit(key),
            },
        }
        None
    }

    fn on_plain_key(&mut self, key: KeyEvent, filter: &Filter) -> Option<Action> {
        if !key.modifiers.is_empty() {
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('p' | ' ') => return Some(Action::Pause),
            KeyCode::Char('f' | '/') => self.mode = Mode::Filter(Entry::of(filter)),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('d') => {
                self.droppers = !self.droppers;
                self.scrolled = 0;
            }
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.scrolled = 0;
            }
            KeyCode::Down | KeyCode::Char('j') => self.scrolled += 1,
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled += PAGE,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(PAGE),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        None
    }

    /// Limits the scroll position to the number of rows.
    pub(crate) fn limit_to(&mut self, rows: usize) {
        self.scrolled = self.scrolled.min(rows.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(choices: &mut Choices, keys: &str) -> Vec<Action> {
        let filter = "dport=443".parse().expect("a filter");
        let key = |c| match c {
            '\n' => KeyCode::Enter.into(),
            '\u{1b}' => KeyCode::Esc.into(),
            '\u{3}' => KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
            c => KeyCode::Char(c).into(),
        };
        keys.chars().filter_map(|c| choices.on_key(key(c), &filter)).collect()
    }

    #[test]
    fn keys_do_not_act_while_a_filter_is_typed() {
        let mut choices = Choices::default();
        assert!(matches!(press(&mut choices, "pq")[..], [Action::Pause, Action::Quit]));
        assert!(press(&mut choices, "f qp").is_empty());
        assert!(matches!(&choices.mode, Mode::Filter(entry) if entry.text() == "dport=443 qp"));
        assert!(press(&mut choices, "\n").is_empty(), "`qp` is not a term");
        assert!(matches!(&choices.mode, Mode::Filter(_)), "the entry stays open");
        assert!(press(&mut choices, "\u{1b}").is_empty());
        assert!(matches!(choices.mode, Mode::Plain));
        let actions = press(&mut choices, "f kind=rto\n");
        assert!(matches!(&actions[..], [Action::Filter(filter)] if filter.to_string() == "dport=443 kind=rto"));
        assert!(press(&mut choices, "?q").is_empty(), "any key closes the help");
        assert!(matches!(choices.mode, Mode::Plain));
        for modes in ["", "?", "f"] {
            assert!(matches!(press(&mut choices, &format!("{modes}\u{3}"))[..], [Action::Quit]));
        }
    }

    #[test]
    fn the_sort_key_cycles_through_the_orders() {
        let mut choices = Choices::default();
        let mut orders = Vec::new();
        for _ in 0..4 {
            press(&mut choices, "jj");
            assert_eq!(choices.scrolled, 2);
            press(&mut choices, "s");
            assert_eq!(choices.scrolled, 0, "scrolled to the top");
            orders.push(choices.order);
        }
        assert_eq!(orders, [Order::Attempts, Order::Latest, Order::Address, Order::Failures]);
        press(&mut choices, "jjjjk");
        choices.limit_to(3);
        assert_eq!(choices.scrolled, 2);
        choices.limit_to(0);
        assert_eq!(choices.scrolled, 0);
    }
}
