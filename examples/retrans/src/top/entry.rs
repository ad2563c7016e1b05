// SPDX-License-Identifier: MIT OR Apache-2.0
//! A filter while it is typed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::text::Span;
use retrans_sdk::Filter;
use retrans_sdk::filter::FilterError;

/// Longer than anybody types.
const LONGEST: usize = 1000;

/// A line of text, the cursor in it, and what it means.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Before the cursor, and behind it.
    before: String,
    behind: String,
    pub(crate) parsed: Result<Filter, FilterError>,
}

impl Entry {
    /// Begins with a filter that is in force.
    pub(crate) fn of(filter: &Filter) -> Self {
        Self { before: filter.to_string(), behind: String::new(), parsed: Ok(filter.clone()) }
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.before, self.behind)
    }

    /// How far the cursor is from the beginning, in columns.
    pub(crate) fn cursor(&self) -> usize {
        Span::raw(&self.before).width()
    }

    pub(crate) fn edit(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if control => self.before.clear(),
            KeyCode::Char('w') if control => {
                let kept = self.before.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.before.truncate(kept);
            }
            KeyCode::Char('a') if control => self.home(),
            KeyCode::Char('e') if control => self.end(),
            KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => {}
            // What shows nothing would only be an error that nobody sees.
            KeyCode::Char(c) if c.is_control() || Span::raw(c.to_string()).width() == 0 => {}
            KeyCode::Char(c) if self.before.len() + self.behind.len() < LONGEST => self.before.push(c),
            KeyCode::Backspace => drop(self.before.pop()),
            KeyCode::Delete if !self.behind.is_empty() => drop(self.behind.remove(0)),
            KeyCode::Left => {
                if let Some(c) = self.before.pop() {
                    self.behind.insert(0, c);
                }
            }
            KeyCode::Right if !self.behind.is_empty() => self.before.push(self.behind.remove(0)),
            KeyCode::Home => self.home(),
            KeyCode::End => self.end(),
            _ => {}
        }
        self.parsed = self.text().parse();
    }

    fn home(&mut self) {
        self.behind.insert_str(0, &self.before);
        self.before.clear();
    }

    fn end(&mut self) {
        self.before.push_str(&self.behind);
        self.behind.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(entry: &mut Entry, text: &str) {
        text.chars().for_each(|c| entry.edit(KeyCode::Char(c).into()));
    }

    fn control(c: char) -> KeyEvent {
        KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)
    }

    #[test]
    fn it_is_parsed_at_each_key() {
        let mut entry = Entry::of(&Filter::default());
        typed(&mut entry, "dport=44");
        assert_eq!(entry.parsed.as_ref().map(ToString::to_string), Ok("dport=44".to_owned()));
        typed(&mut entry, "x");
        assert!(entry.parsed.as_ref().is_err_and(|error| error.to_string().contains("44x")), "{:?}", entry.parsed);
        entry.edit(KeyCode::Backspace.into());
        assert!(entry.parsed.is_ok());
    }

    #[test]
    fn it_is_edited_as_a_shell_does() {
        let mut entry = Entry::of(&"dport=443 kind=rto".parse().expect("a filter"));
        entry.edit(control('w'));
        assert_eq!((entry.text().as_str(), entry.cursor()), ("dport=443 ", 10));
        entry.edit(KeyCode::Home.into());
        typed(&mut entry, "s");
        entry.edit(KeyCode::Delete.into());
        assert_eq!((entry.text().as_str(), entry.cursor()), ("sport=443 ", 1));
        for key in [KeyCode::Left, KeyCode::Left, KeyCode::Right, KeyCode::Right, KeyCode::Backspace] {
            entry.edit(key.into());
        }
        assert_eq!((entry.text().as_str(), entry.cursor()), ("sort=443 ", 1));
        entry.edit(control('e'));
        entry.edit(control('u'));
        assert_eq!((entry.text().as_str(), entry.cursor()), ("", 0));
        for key in [KeyCode::Backspace, KeyCode::Delete, KeyCode::Left, KeyCode::Right, KeyCode::F(1)] {
            entry.edit(key.into());
        }
        assert!(entry.parsed.is_ok(), "no term at all lets everything through");
    }

    #[test]
    fn nothing_invisible_gets_in_and_it_ends_somewhere() {
        let mut entry = Entry::of(&Filter::default());
        typed(&mut entry, "\u{1b}\u{200b}\u{301}\0é字");
        assert_eq!((entry.text().as_str(), entry.cursor()), ("é字", 3));
        typed(&mut entry, &"x".repeat(5000));
        assert!(entry.text().len() <= LONGEST);
    }
}
