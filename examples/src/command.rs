// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of the small applications: `[--replay FILE] [--NAME NUMBER]… [TERM…] [--or TERM…]…`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use lexopt::prelude::*;
use retrans_sdk::offline::Recording;
use retrans_sdk::{Filter, Stream, StreamBuilder};

/// What was asked for.
#[derive(Debug, Default)]
pub struct Command {
    /// What stands for itself, in front of the terms, as many as the application takes.
    pub operands: Vec<String>,
    /// The terms.
    pub filter: Filter,
    replay: Option<PathBuf>,
    numbers: BTreeMap<&'static str, u64>,
}

impl Command {
    /// Reads it. `None` if it was help that was asked for, which is printed then.
    ///
    /// # Errors
    ///
    /// If it is not as the help says.
    pub fn read(help: &str, operands: usize, names: &[&'static str]) -> Result<Option<Self>, Box<dyn Error>> {
        let mut command = Self::default();
        let mut terms = Vec::new();
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Value(operand) if command.operands.len() < operands => command.operands.push(operand.string()?),
                Value(term) => terms.push(term.string()?),
                Long("or") => terms.push("--or".to_owned()),
                Long("replay") => command.replay = Some(parser.value()?.into()),
                Short('h') | Long("help") => {
                    let _ = writeln!(std::io::stdout(), "{help}");
                    return Ok(None);
                }
                other => {
                    let known = names.iter().copied().find(|name| other == Long(name));
                    let name = known.ok_or_else(|| other.unexpected())?;
                    command.numbers.insert(name, parser.value()?.parse()?);
                }
            }
        }
        if command.operands.len() < operands {
            return Err("something is missing (see --help)".into());
        }
        command.filter = terms.join(" ").parse()?;
        Ok(Some(command))
    }

    /// The number that was given, or this one.
    #[must_use]
    pub fn number(&self, name: &str, unless_given: u64) -> u64 {
        self.numbers.get(name).copied().unwrap_or(unless_given)
    }

    /// Whether it is about this host, and not about a recording.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.replay.is_none()
    }

    /// The stream of what is asked for: of this host, or of a recording at full speed.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn open(&self, builder: StreamBuilder) -> Result<Stream, retrans_sdk::Error> {
        match &self.replay {
            Some(path) => builder.replay(Recording::open(path)?),
            None => builder.open(),
        }
    }
}
