// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes HTML. Markup is constant, and everything else is escaped.
//!
//! # Design
//!
//! A recording contains names that users of the host choose. [`Html::raw`] accepts only constants,
//! so no value can become markup. [`Html::text`] escapes for elements and for quoted attributes.

use std::fmt::{self, Display, Write as _};

use pulldown_cmark as markdown;
use retrans_sdk::format::Escaped;

/// A page, or a part of one.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Appends markup.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends text, escaped. Characters that reorder or hide text print as in a Rust string.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        // A `String` accepts everything.
        let _ = write!(Text(&mut self.0), "{}", Escaped::text(&text.to_string()));
        self
    }

    /// Appends another part.
    pub(crate) fn append(&mut self, other: &Html) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// Converts constant Markdown, after `change` has changed its events.
    pub(crate) fn of_markdown<'a>(
        markdown: &'static str,
        change: impl FnMut(markdown::Event<'static>) -> Option<markdown::Event<'a>>,
    ) -> Self {
        let mut html = String::new();
        let events = markdown::Parser::new_ext(markdown, markdown::Options::ENABLE_TABLES);
        markdown::html::push_html(&mut html, events.filter_map(change));
        Self(html)
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Escapes what is written to it.
struct Text<'a>(&'a mut String);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// A number with separators: `1,234,567`.
pub(crate) struct Number(pub(crate) u64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A number and its unit: `1 attempt`, `2,000 attempts`.
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", Number(self.0), self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// A part of a whole in percent. It prints as 0 % or 100 % only if it is.
pub(crate) struct Percent(pub(crate) u64, pub(crate) u64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, whole) = *self;
        let tenths = (u128::from(part) * 2000 / u128::from(whole.max(1))).div_ceil(2);
        match tenths {
            _ if part == 0 => f.write_str("0 %"),
            _ if part == whole => f.write_str("100 %"),
            0 => f.write_str("< 0.1 %"),
            1000.. => f.write_str("> 99.9 %"),
            tenths => write!(f, "{}.{} %", tenths / 10, tenths % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut html = Html::default();
        html.raw("<b title=\"").text("\"><script>alert('x')</script>&\u{202e}\x1b").raw("\">");
        assert_eq!(
            html.finish(),
            "<b title=\"&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\\u{202e}\\u{1b}\">"
        );
    }

    #[test]
    fn numbers_have_separators() {
        let print = |number| Number(number).to_string();
        assert_eq!([0, 999, 1000, 1_234_567].map(print), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(print(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!((Count(1, "line").to_string(), Count(0, "line").to_string()), ("1 line".into(), "0 lines".into()));
    }

    #[test]
    fn only_nothing_is_zero_percent_and_only_all_is_a_hundred() {
        let print = |part, whole| Percent(part, whole).to_string();
        assert_eq!([print(0, 7), print(7, 7), print(0, 0)], ["0 %", "100 %", "0 %"]);
        assert_eq!([print(1, 1_000_000), print(999_999, 1_000_000)], ["< 0.1 %", "> 99.9 %"]);
        assert_eq!([print(1, 3), print(2, 3), print(5, 8)], ["33.3 %", "66.7 %", "62.5 %"]);
        assert_eq!(print(u64::MAX / 2, u64::MAX), "50.0 %");
    }
}
