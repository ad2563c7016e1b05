// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the recorded results of this tree.

use std::collections::BTreeMap;

use retrans_kernels::list::Wanted;
use retrans_kernels::results::{Kind, Results};

fn results() -> Results {
    Results::parse(include_str!("../results.tsv")).unwrap()
}

#[test]
fn the_file_is_well_formed_and_has_a_row_for_each_kernel() {
    let wanted = Wanted::parse(include_str!("../kernels.list")).unwrap();
    results().check_kernels(&wanted.names()).unwrap();
}

#[test]
fn the_demo_reports_an_attempt_on_6_1_in_the_same_words_as_on_7_3() {
    let results = results();
    let demo = |kernel: &str| -> BTreeMap<String, String> {
        let lines = results.row(kernel).unwrap().of_kind(Kind::Demo);
        lines.map(|(key, result)| (key.name.clone(), result.to_owned())).collect()
    };
    let (old, new) = (demo("6.1"), demo("7.3"));
    assert!(old.len() > 27 && old.values().any(|result| result.starts_with("frag_nomem ")), "{old:?}");
    assert_eq!(old, new);
}
