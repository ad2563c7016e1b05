// SPDX-License-Identifier: MIT OR Apache-2.0
//! Renders the pages of the results as text for a terminal.

use std::mem;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use textwrap::{Options, WordSplitter};

/// Returns the options by which prose is wrapped. A value, such as an address, is never split.
pub(crate) fn options(width: usize) -> Options<'static> {
    Options::new(width).break_words(false).word_splitter(WordSplitter::NoHyphenation)
}

/// Renders Markdown, indented by two spaces. Links become their text, and a table becomes a list.
/// Each line of a code block is passed to `command`.
pub(crate) fn render(markdown: &str, width: usize, command: &dyn Fn(&str) -> String) -> String {
    let mut page = Rendered { width, ..Rendered::default() };
    for event in Parser::new_ext(markdown, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Text(text) | Event::Code(text) => page.inline.push_str(&text),
            Event::SoftBreak | Event::HardBreak => page.inline.push(' '),
            Event::Start(Tag::Item) => page.block(BULLET),
            Event::End(TagEnd::Heading(_)) => page.block(PLAIN),
            Event::Start(Tag::CodeBlock(_)) => page.block(PLAIN),
            Event::End(TagEnd::Paragraph) => page.block(if page.items > 0 { BULLET } else { PLAIN }),
            Event::End(TagEnd::Item) => page.block(BULLET),
            Event::Start(Tag::List(_)) => page.items += 1,
            Event::End(TagEnd::List(_)) => page.items -= 1,
            Event::End(TagEnd::CodeBlock) => page.commands(command),
            Event::End(TagEnd::TableCell) => {
                let cell = mem::take(&mut page.inline);
                page.cells.push(cell);
            }
            Event::End(TagEnd::TableHead) => page.heads = mem::take(&mut page.cells),
            Event::End(TagEnd::TableRow) => page.row(),
            _ => {}
        }
    }
    page.text
}

/// The indentation of a block: of its first line, and of the others.
type Indent = (&'static str, &'static str);

const PLAIN: Indent = ("  ", "  ");
const BULLET: Indent = ("  - ", "    ");
const CELL: Indent = ("    ", "    ");

#[derive(Default)]
struct Rendered {
    width: usize,
    text: String,
    /// The text of the current block.
    inline: String,
    /// The number of lists that contain the current block.
    items: usize,
    /// True if the last block was an item.
    follows_item: bool,
    heads: Vec<String>,
    cells: Vec<String>,
}

impl Rendered {
    /// Adds the current block, unless it is empty.
    fn block(&mut self, indent: Indent) {
        let text = mem::take(&mut self.inline);
        if text.trim().is_empty() {
            return;
        }
        self.begin(indent == BULLET);
        self.wrapped(&text, indent);
    }

    /// Separates a block from the previous one. Items are not separated.
    fn begin(&mut self, is_item: bool) {
        if !(self.text.is_empty() || is_item && self.follows_item) {
            self.text.push('\n');
        }
        self.follows_item = is_item;
    }

    fn wrapped(&mut self, text: &str, (first, rest): Indent) {
        let options = options(self.width).initial_indent(first).subsequent_indent(rest);
        self.text += &textwrap::fill(text, options);
        self.text.push('\n');
    }

    fn commands(&mut self, command: &dyn Fn(&str) -> String) {
        self.begin(false);
        for line in mem::take(&mut self.inline).lines() {
            self.text += &format!("      {}\n", command(line));
        }
    }

    /// Adds a row of a table: its first cell, and below it the other ones after their headings.
    fn row(&mut self) {
        let cells = mem::take(&mut self.cells);
        let Some((first, others)) = cells.split_first() else { return };
        self.begin(true);
        self.wrapped(first, BULLET);
        for (head, cell) in self.heads.clone().iter().skip(1).zip(others) {
            self.wrapped(&format!("{head}: {cell}"), CELL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_lists_tables_and_commands() {
        let markdown = "\
The [page](other.md#part) of `result` is
**important** and long enough to be wrapped at forty.

| where | what happens |
|---|---|
| the device | it is dropped (`tc`) |
| VRF | nothing |

- one item that is long enough to be wrapped
- two

```sh
ip route get \"$daddr\"
```

The end.
";
        let expected = "  The page of result is important and long
  enough to be wrapped at forty.

  - the device
    what happens: it is dropped (tc)
  - VRF
    what happens: nothing
  - one item that is long enough to be
    wrapped
  - two

      ip route get 10.0.0.1

  The end.
";
        let command = |line: &str| line.replace("\"$daddr\"", "10.0.0.1");
        assert_eq!(render(markdown, 42, &command), expected);
    }

    #[test]
    fn nothing_is_rendered_as_nothing() {
        assert_eq!(render("", 80, &str::to_owned), "");
        assert_eq!(render("<!-- a comment -->\n", 80, &str::to_owned), "");
    }
}
