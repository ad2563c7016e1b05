// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table in `docs/kernel-matrix.md`, generated from the recorded results.

use std::fmt::Write as _;

use retrans_lab::{Error, Outcome, Probes, Result, Trial};

use crate::patched_kernels::numbering_of;
use crate::results::{Kind, Results, Row};

/// The page that contains the table.
pub const PAGE: &str = "docs/kernel-matrix.md";

const BEGIN: &str = "<!-- matrix -->\n";
const END: &str = "<!-- /matrix -->";

/// The cell of a scenario that no attach method reported.
const NOTHING: &str = "–";

/// The cell of a scenario that is newer than the row.
const NOT_RUN: &str = "not run";

/// Returns the table: a line for each scenario, a column for each kernel, older ones first. A
/// scenario has a second line if its result with Linux's default tail loss probes is another one.
pub fn table(results: &Results) -> String {
    let rows = results.rows();
    let line = |name: &str, cell: &dyn Fn(&str, &Row) -> String| {
        let cells = rows.iter().map(|(kernel, row)| format!(" {} |", cell(kernel, row))).collect::<String>();
        format!("| {name} |{cells}\n")
    };
    let mut table = line("scenario", &heading);
    let _ = writeln!(table, "|---|{}", "---|".repeat(rows.len()));
    for outcome in Outcome::ALL {
        let [without, default] = [Probes::Off, Probes::Default].map(|probes| Trial::name(outcome, probes));
        table += &line(&format!("`{without}`"), &|_, row| scenario(row, &without));
        // Most results do not depend on tail loss probes.
        let differs = |row: &Row| {
            let methods = row.methods();
            let [default, without] = [&default, &without]
                .map(|name| methods.iter().map(|(method, _)| row.scenario(name, method)).collect::<Vec<_>>());
            default.iter().any(Option::is_some) && default != without
        };
        if rows.iter().any(|(_, row)| differs(row)) {
            table += &line(&format!("`{default}`"), &|_, row| scenario(row, &default));
        }
    }
    table += &line("attach methods", &|_, row| {
        row.methods().iter().map(|(method, _)| format!("`{method}`")).collect::<Vec<_>>().join("<br>")
    });
    table += &line("live tests", &|_, row| tests(row));
    table + &line("demo", &|_, row| if row.of_kind(Kind::Demo).next().is_some() { "yes" } else { "–" }.to_owned())
}

/// Returns the heading of a column: the version and the patch. The version is from Debian's
/// packages, because the release has another number on older kernels.
fn heading(kernel: &str, row: &Row) -> String {
    let version = row.packages().split('=').nth(1).and_then(|version| version.split('-').next()).unwrap_or(kernel);
    let numbering = numbering_of(kernel).map(|numbering| format!(", {}", numbering.name));
    format!("{version}{}", numbering.unwrap_or_default())
}

fn scenario(row: &Row, name: &str) -> String {
    let methods = row.methods();
    if methods.iter().all(|(method, _)| row.scenario(name, method).is_none()) {
        return NOT_RUN.to_owned();
    }
    let result = |method: &str| row.scenario(name, method).unwrap_or(NOTHING);
    if let Some(why) = methods.iter().find_map(|(method, _)| result(method).strip_prefix("impossible: ")) {
        return why.to_owned();
    }
    if !methods.iter().any(|(method, _)| result(method) == "yes") {
        return NOTHING.to_owned();
    }
    // A method that sees only successes cannot report a failure.
    let not = methods.iter().filter(|(method, observes)| *observes && result(method) != "yes");
    let not: Vec<_> = not.map(|(method, _)| format!("`{method}`")).collect();
    if not.is_empty() { "yes".to_owned() } else { format!("yes, not by {}", not.join(", ")) }
}

fn tests(row: &Row) -> String {
    let passed = row.of_kind(Kind::Test).filter(|(_, result)| *result == "passed").count();
    match row.of_kind(Kind::Test).count() {
        0 => "–".to_owned(),
        all if all == passed => all.to_string(),
        all => format!("{passed} of {all}"),
    }
}

/// Returns the page with this table in it.
///
/// # Errors
/// Returns an error if the page does not contain the two marks that enclose the table.
pub fn put_into(page: &str, table: &str) -> Result<String> {
    let missing = |mark: &str| Error::new(format!("{PAGE} does not have the mark {}", mark.trim()));
    let begin = page.find(BEGIN).ok_or_else(|| missing(BEGIN))? + BEGIN.len();
    let end = page[begin..].find(END).ok_or_else(|| missing(END))? + begin;
    Ok(format!("{}{table}{}", &page[..begin], &page[end..]))
}

/// Checks that a page contains exactly this table.
///
/// # Errors
/// Returns an error with the first line that differs, and with the line that is expected. Also
/// returns an error if the page has no place for a table.
pub fn check(page: &str, table: &str) -> Result<()> {
    let right = put_into(page, table)?;
    if right == page {
        return Ok(());
    }
    let (mut is, mut should) = (page.lines(), right.lines());
    loop {
        match (is.next(), should.next()) {
            (is, should) if is == should && is.is_some() => {}
            (is, should) => {
                let [is, should] = [is, should].map(|line| line.unwrap_or("nothing"));
                return Err(Error::new(format!(
                    "the table in {PAGE} differs from the recorded results: it has\n{is}\ninstead of\n{should}"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::CellResult;
    use crate::results::tests::row;

    fn results() -> Results {
        let mut results = Results::default();
        results.set("6.18", row("6.18", &["tp_err", "fexit"], |_, _| CellResult::Matches(2)));
        results.set(
            "6.2",
            row("6.2", &["tp_success", "fexit"], |method, outcome| match (method, outcome) {
                (_, Outcome::XmitDrop(_)) => CellResult::Impossible("no egress hook".to_owned()),
                ("fexit", Outcome::Rto) => CellResult::Unobservable(1),
                (_, Outcome::FragNomem) => CellResult::Unobservable(1),
                _ => CellResult::Matches(1),
            }),
        );
        results
    }

    #[test]
    fn it_has_a_column_for_each_kernel_in_order() {
        let table = table(&results());
        let row = |name: &str| table.lines().find(|line| line.starts_with(&format!("| {name}"))).unwrap().to_owned();
        assert!(table.starts_with("| scenario | 6.2.9 | 6.18.9 |\n|---|---|---|\n"), "{table}");
        assert_eq!(row("`tlp`"), "| `tlp` | yes | yes |");
        assert_eq!(row("`rto`"), "| `rto` | yes, not by `fexit` | yes |");
        assert_eq!(row("`frag_nomem`"), "| `frag_nomem` | – | yes |");
        assert_eq!(row("`xmit_drop_egress`"), "| `xmit_drop_egress` | no egress hook | yes |");
        assert_eq!(row("attach methods"), "| attach methods | `fexit`<br>`tp_success` | `fexit`<br>`tp_err` |");
        assert_eq!(row("live tests"), "| live tests | 1 | 1 |");
        assert_eq!(row("demo"), "| demo | yes | yes |");
    }

    #[test]
    fn a_scenario_has_a_second_line_if_the_defaults_differ() {
        let name = Trial::name(Outcome::Rto, Probes::Default);
        let log = crate::log::tests::log("6.18", &["fexit"], |_, _| CellResult::Matches(2));
        let differs = log.replace(
            &format!("outcome={name} family=inet6 events=2 matches=yes"),
            &format!("outcome={name} family=inet6 events=- matches=- why=no_x"),
        );
        assert_ne!(log, differs);
        for (log, expected) in [(log, None), (differs, Some("| `rto/defaults` | – |"))] {
            let mut results = Results::default();
            results.set("6.18", Row::of(&crate::log::Log::parse(&log).unwrap(), "-"));
            let table = table(&results);
            assert_eq!(table.lines().find(|line| line.contains("/defaults")), expected, "{table}");
        }
    }

    #[test]
    fn a_scenario_that_is_newer_than_the_row_was_not_run() {
        let row = row("6.18", &["tp_err", "fexit"], |_, _| CellResult::Matches(2));
        assert_eq!(scenario(&row, "rto"), "yes");
        assert_eq!(scenario(&row, "newer"), "not run");
    }

    #[test]
    fn one_edited_cell_is_found() {
        let table = table(&results());
        let page = put_into("# x\n<!-- matrix -->\nold\n<!-- /matrix -->\nrest\n", &table).unwrap();
        assert!(check(&page, &table).is_ok());
        assert!(page.ends_with("<!-- /matrix -->\nrest\n"));
        let error = check(&page.replacen("no egress hook", "yes", 1), &table).unwrap_err().to_string();
        assert!(error.contains("it has\n| `xmit_drop_") && error.contains("no egress hook"), "{error}");
        assert!(check("no marks", &table).is_err());
    }
}
