// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filter while it is typed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::text::Span;
use retrans_sdk::Filter;
use retrans_sdk::filter::FilterError;

/// The maximum length, in bytes. No filter needs more.
const LONGEST: usize = 1000;

/// A line of text with a cursor, and the filter that it contains.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The text before and after the cursor.
    before: String,
    after: String,
    pub(crate) parsed: Result<Filter, FilterError>,
}

impl Entry {
    /// Begins with the current filter.
    pub(crate) fn of(filter: &Filter) -> Self {
        Self { before: filter.to_string(), after: String::new(), parsed: Ok(filter.clone()) }
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// Returns the column of the cursor.
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
            // Ignored: an invisible character would be an error that the user cannot see.
            KeyCode::Char(c) if c.is_control() || Span::raw(c.to_string()).width() == 0 => {}
            KeyCode::Char(c) if self.before.len() + self.after.len() < LONGEST => self.before.push(c),
            KeyCode::Backspace => drop(self.before.pop()),
            KeyCode::Delete if !self.after.is_empty() => drop(self.after.remove(0)),
            KeyCode::Left => {
                if let Some(c) = self.before.pop() {
                    self.after.insert(0, c);
                }
            }
            KeyCode::Right if !self.after.is_empty() => self.before.push(self.after.remove(0)),
            KeyCode::Home => self.home(),
            KeyCode::End => self.end(),
            _ => {}
        }
        self.parsed = self.text().parse();
    }

    fn home(&mut self) {
        self.after.insert_str(0, &self.before);
        self.before.clear();
    }

    fn end(&mut self) {
        self.before.push_str(&self.after);
        self.after.clear();
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
    fn the_filter_is_parsed_at_each_key() {
        let mut entry = Entry::of(&Filter::default());
        typed(&mut entry, "dport=44");
        assert_eq!(entry.parsed.as_ref().map(ToString::to_string), Ok("dport=44".to_owned()));
        typed(&mut entry, "x");
        assert!(entry.parsed.as_ref().is_err_and(|error| error.to_string().contains("44x")), "{:?}", entry.parsed);
        entry.edit(KeyCode::Backspace.into());
        assert!(entry.parsed.is_ok());
    }

    #[test]
    fn editing_keys_work_as_in_a_shell() {
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
        assert!(entry.parsed.is_ok(), "a filter without terms matches everything");
    }

    #[test]
    fn invisible_characters_and_excess_length_are_ignored() {
        let mut entry = Entry::of(&Filter::default());
        typed(&mut entry, "\u{1b}\u{200b}\u{301}\0é字");
        assert_eq!((entry.text().as_str(), entry.cursor()), ("é字", 3));
        typed(&mut entry, &"x".repeat(5000));
        assert!(entry.text().len() <= LONGEST);
    }
}
