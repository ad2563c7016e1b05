// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detects whether stdout is a terminal, and colors text.

use std::io::{self, IsTerminal};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use retrans_sdk::ResultClass;

use crate::args::Format;

/// The properties of stdout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    is_terminal: bool,
    pub(crate) paint: Paint,
}

impl Output {
    pub(crate) fn new(color: ColorChoice) -> Self {
        let stdout = io::stdout();
        let colors = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
        };
        Self { is_terminal: stdout.is_terminal(), paint: Paint { colors } }
    }

    /// Returns true if stdout is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Resolves [`Format::Auto`]: a table on a terminal, otherwise key=value lines.
    pub(crate) fn format(self, asked: Format) -> Format {
        match asked {
            Format::Auto if self.is_terminal => Format::Table,
            Format::Auto => Format::Kv,
            asked => asked,
        }
    }
}

/// Colors text, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) colors: bool,
}

impl Paint {
    pub(crate) fn with(self, style: Style, text: &str) -> String {
        if self.colors { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// Colors a text by the class of a result.
    pub(crate) fn class(self, class: ResultClass, text: &str) -> String {
        let style = match class {
            ResultClass::Ok => AnsiColor::Green.on_default(),
            ResultClass::Busy => AnsiColor::Yellow.on_default(),
            ResultClass::Window => AnsiColor::Cyan.on_default(),
            ResultClass::Route | ResultClass::Drop => AnsiColor::Red.on_default(),
            ResultClass::Nomem => AnsiColor::Magenta.on_default(),
            _ => Style::new().bold(),
        };
        self.with(style, text)
    }
}
