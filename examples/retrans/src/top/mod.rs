// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans top`: shows attempts in a terminal dashboard.

mod arguments;
mod droppers;
mod entry;
mod input;
pub(crate) mod model;
mod rates;
mod remotes;
mod seconds;
mod source;
mod view;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::output::Output;
use crate::signals::until_interrupted;
use crate::status::say_stats;
use crate::terminal::{Input, Terminal};
use crate::{CANNOT_START, FAILED, fail};
use ratatui::crossterm::event::KeyEvent;
use ratatui::crossterm::style::force_color_output;
use retrans_sdk::Filter;
use retrans_sdk::event::Timestamp;
use retrans_sdk::format::Escaped;

pub(crate) use arguments::Arguments;
use input::{Action, Choices};
use model::Model;
use source::{Origin, Progress, Source};
use view::Shown;

/// The time to wait for a key before the next draw.
const TICK: Duration = Duration::from_millis(100);

/// The maximum time to read events before the next draw.
const BUSY: Duration = Duration::from_millis(50);

pub(crate) fn main(arguments: Arguments, output: Output) -> ExitCode {
    let (origin, filter) = match arguments.parse() {
        Ok(parsed) => parsed,
        Err(error) => return fail(CANNOT_START, &*error),
    };
    let interrupted = match until_interrupted() {
        Ok(interrupted) => interrupted,
        Err(error) => return fail(CANNOT_START, &format!("cannot handle signals: {error}")),
    };
    let top = match Top::open(origin, filter, output.paint.colors) {
        Ok(top) => top,
        Err(error) => return fail(CANNOT_START, &*error),
    };
    // crossterm reads NO_COLOR itself, but `--color always` overrides it.
    force_color_output(output.paint.colors);
    // The terminal is taken over last, so that earlier errors are printed on an unchanged terminal.
    let terminal = match Terminal::take_over() {
        Ok(terminal) => terminal,
        Err(error) => return fail(CANNOT_START, &error),
    };
    match top.run(terminal, interrupted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &*error),
    }
}

/// The open source, its counts, and the state of the display.
struct Top {
    origin: Origin,
    filter: Filter,
    source: Source,
    model: Model,
    choices: Choices,
    /// The counts and the time that are shown during a pause. Counting continues.
    paused: Option<(Model, Timestamp)>,
    /// The reason why the source could not be opened with another filter.
    refused: Option<String>,
    colors: bool,
}

impl Top {
    fn open(origin: Origin, filter: Filter, colors: bool) -> Result<Self, Box<dyn Error>> {
        let source = Source::open(&origin, &filter)?;
        let model = Model::new(source.now());
        Ok(Self { origin, filter, source, model, choices: Choices::default(), paused: None, refused: None, colors })
    }

    fn run(mut self, mut terminal: Terminal, interrupted: impl Fn() -> bool) -> Result<(), Box<dyn Error>> {
        while !interrupted() {
            self.source.take(Instant::now() + BUSY, |event| self.model.count(event))?;
            self.model.read(self.source.counters(), self.source.now());
            self.draw(&mut terminal)?;
            match terminal.keys(TICK)? {
                Input::Keys(keys) => {
                    if keys.into_iter().any(|key| self.is_over_after(key)) {
                        break;
                    }
                }
                Input::HungUp => {
                    terminal.abandon();
                    return Ok(());
                }
            }
        }
        drop(terminal);
        if let Some(stats) = self.source.stats() {
            say_stats(&stats);
        }
        match (self.source.progress(), &self.origin) {
            (Progress::Broken(why), Origin::Recording { path, .. }) => {
                Err(format!("{}: {why}", Escaped::path(path)).into())
            }
            _ => Ok(()),
        }
    }

    fn draw(&mut self, terminal: &mut Terminal) -> io::Result<()> {
        let now = self.source.now();
        let (model, now) = self.paused.as_ref().map_or((&self.model, now), |(model, now)| (model, *now));
        self.choices.limit_to(if self.choices.droppers { model.droppers.len() } else { model.remotes.len() });
        let shown = Shown {
            about: self.source.about(),
            progress: self.source.progress(),
            filter: &self.filter,
            model,
            now,
            paused: self.paused.is_some(),
            refused: self.refused.as_deref(),
            choices: &self.choices,
        };
        let colors = self.colors;
        terminal.draw(|frame| {
            view::draw(frame, &shown);
            if !colors {
                view::remove_colors(frame.buffer_mut());
            }
        })
    }

    fn is_over_after(&mut self, key: KeyEvent) -> bool {
        match self.choices.on_key(key, &self.filter) {
            None => {}
            Some(Action::Quit) => return true,
            Some(Action::Pause) => {
                self.paused = match self.paused {
                    Some(_) => None,
                    None => Some((self.model.clone(), self.source.now())),
                }
            }
            Some(Action::Filter(filter)) => match Source::open(&self.origin, &filter) {
                // The previous source is closed only after this one is open, so that no event is
                // missed.
                Ok(source) => {
                    self.model = Model::new(source.now());
                    (self.source, self.filter, self.paused, self.refused) = (source, filter, None, None);
                }
                Err(error) => self.refused = Some(error.to_string()),
            },
        }
        false
    }
}
