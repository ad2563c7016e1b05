// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of the README.

use std::fmt::Write as _;

use retrans_tests::{Error, Outcome, Result};

use crate::list::order;
use crate::log::{Came, Cell, Log};
use crate::patched_kernels;

const BEGIN: &str = "<!-- matrix -->\n";
const END: &str = "<!-- /matrix -->";

/// A row an outcome, a column a kernel, older ones first. A cell has the number of events over all families for each source.
pub fn table(logs: &[Log]) -> String {
    let mut logs: Vec<&Log> = logs.iter().collect();
    logs.sort_by_key(|log| order(&log.series));
    let mut table = String::from("| |");
    for log in &logs {
        let numbering = patched_kernels::numbering_of(&log.series).map(|numbering| format!(", {}", numbering.name));
        let _ = write!(table, " {}{} |", log.version, numbering.unwrap_or_default());
    }
    table += &format!("\n|---|{}\n", "---|".repeat(logs.len()));
    for outcome in Outcome::ALL {
        let cells = logs.iter().map(|log| format!(" {} |", cell(log, outcome))).collect::<String>();
        let _ = writeln!(table, "| `{outcome}` |{cells}");
    }
    let again = |log: &Log| match log.tests.iter().filter(|test| test.again).count() {
        0 => String::new(),
        count => format!(", {count} at the second run"),
    };
    let tests = |log: &&Log| match (log.passed(), log.tests.len()) {
        (_, 0) => " - |".to_owned(),
        (passed, all) if passed == all => format!(" {all}{} |", again(log)),
        (passed, all) => format!(" {passed} of {all}{} |", again(log)),
    };
    let demo = |log: &&Log| match log.demo {
        Some(true) => " yes |",
        Some(false) => " NO |",
        None => " - |",
    };
    table += &format!("| live tests |{}\n", logs.iter().map(tests).collect::<String>());
    table + &format!("| `make demo` |{}\n", logs.iter().map(demo).collect::<String>())
}

fn cell(log: &Log, outcome: Outcome) -> String {
    let name = outcome.to_string();
    // Sources that have the same to say say it once.
    let mut by_text: Vec<(String, Vec<&str>)> = Vec::new();
    for source in &log.sources {
        let its: Vec<_> = log.cells.iter().filter(|cell| cell.source == *source && cell.outcome == name).collect();
        if let Some(why) = its.iter().find_map(|cell| cell.impossible()) {
            return why.to_owned();
        }
        let text = text_of(&its);
        match by_text.iter_mut().find(|(other, _)| *other == text) {
            Some((_, sources)) => sources.push(source),
            None => by_text.push((text, vec![source])),
        }
    }
    let said = |(text, sources): &(String, Vec<&str>)| format!("{} {text}", sources.join(", "));
    by_text.iter().map(said).collect::<Vec<_>>().join("<br>")
}

/// What the families have together.
fn text_of(cells: &[&Cell]) -> String {
    let mut events = 0;
    for cell in cells {
        match cell.came {
            Came::Agreed(count) => events += count,
            Came::Unobservable(_) => return "unobservable".to_owned(),
            Came::Differs(_) | Came::Impossible(_) => return "FAILED".to_owned(),
        }
    }
    events.to_string()
}

/// The README with this table in it.
///
/// # Errors
/// When it has no place for one.
pub fn put_into(readme: &str, table: &str) -> Result<String> {
    let missing = |mark: &str| Error::new(format!("the README has no {}", mark.trim()));
    let begin = readme.find(BEGIN).ok_or_else(|| missing(BEGIN))? + BEGIN.len();
    let end = readme[begin..].find(END).ok_or_else(|| missing(END))? + begin;
    Ok(format!("{}{table}{}", &readme[..begin], &readme[end..]))
}

/// Whether a README has just this table, and if not, the first line that differs.
///
/// # Errors
/// That line, there and as it should be; or when there is no place for a table.
pub fn check(readme: &str, table: &str) -> Result<()> {
    let right = put_into(readme, table)?;
    if right == readme {
        return Ok(());
    }
    let (mut is, mut should) = (readme.lines(), right.lines());
    loop {
        match (is.next(), should.next()) {
            (is, should) if is == should => {}
            (is, should) => {
                let [is, should] = [is, should].map(|line| line.unwrap_or("nothing"));
                return Err(Error::new(format!(
                    "the README's table differs from the logs: it has\n{is}\ninstead of\n{should}"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::log;

    fn logs() -> Vec<Log> {
        let new = log("6.18", &["tp_err", "fexit"], |_, _| Came::Agreed(2));
        let old = log("6.2", &["tp_success", "fexit"], |source, outcome| match (source, outcome) {
            (_, Outcome::XmitDrop(_)) => Came::Impossible("no egress hook".to_owned()),
            ("tp_success", Outcome::FragNomem) => Came::Unobservable(1),
            _ => Came::Agreed(1),
        });
        let old = old.replace("result=ok", "result=ignored why=no_tbf");
        [new, old].iter().map(|text| Log::parse(text).unwrap()).collect()
    }

    #[test]
    fn has_a_column_a_kernel_in_order() {
        let table = table(&logs());
        let row = |name: &str| table.lines().find(|line| line.starts_with(&format!("| {name}"))).unwrap().to_owned();
        assert!(table.starts_with("| | 6.2.9 | 6.18.9 |\n|---|---|---|\n"), "{table}");
        assert_eq!(row("`rto`"), "| `rto` | tp_success, fexit 3 | tp_err, fexit 6 |");
        assert_eq!(row("`frag_nomem`"), "| `frag_nomem` | tp_success unobservable<br>fexit 3 | tp_err, fexit 6 |");
        assert_eq!(row("`xmit_drop_egress`"), "| `xmit_drop_egress` | no egress hook | tp_err, fexit 6 |");
        assert_eq!(row("live tests"), "| live tests | 0 of 1 | 1 |");
        let again = log("6.18", &["tp_err"], |_, _| Came::Agreed(2)).replace("result=ok", "result=ok again=yes");
        let again = super::table(&[Log::parse(&again).unwrap()]);
        assert!(again.contains("| live tests | 1, 1 at the second run |"), "{again}");
        assert_eq!(row("`make demo`"), "| `make demo` | yes | yes |");
    }

    #[test]
    fn one_edited_cell_is_found() {
        let table = table(&logs());
        let readme = put_into("# x\n<!-- matrix -->\nold\n<!-- /matrix -->\nrest\n", &table).unwrap();
        assert!(check(&readme, &table).is_ok());
        assert!(readme.ends_with("<!-- /matrix -->\nrest\n"));
        let error = check(&readme.replacen("fexit 6", "fexit 7", 1), &table).unwrap_err();
        assert!(error.to_string().contains("fexit 7 |\ninstead of\n| `rto` |"), "{error}");
        assert!(check("no marks", &table).is_err());
    }
}
