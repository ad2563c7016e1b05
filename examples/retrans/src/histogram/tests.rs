// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests with synthetic tables. `tests/histogram` runs the program on recordings.

use retrans_sdk::Event;
use roxmltree::Document;

use crate::histogram::arguments::Which;
use crate::histogram::count::Count;
use crate::histogram::prefix::Prefixes;
use crate::histogram::{picture, text};

fn event(ts: u64, result: &str, daddr: &str) -> Event {
    let (family, saddr) = if daddr.contains(':') { ("inet6", "fd00::99") } else { ("inet", "10.9.9.9") };
    format!(
        "ts={ts}.000000000 result={result} err=- kind=rto family={family} saddr={saddr} sport=40000 daddr={daddr} \
         dport=443 state=established segs=1"
    )
    .parse()
    .expect("a line")
}

#[test]
fn prefixes_without_a_row_are_in_the_sum() {
    let mut count = Count::new(Prefixes::default(), None, Which::Failed);
    for i in 0..5_u64 {
        for _ in 0..=i {
            count.add(&event(1000 + i, "denied", &format!("192.0.{i}.1"))).expect("room");
        }
        count.add(&event(1000, "success", "198.51.100.1")).expect("room");
    }
    let table = count.table(2);
    let shown: Vec<_> = table.rows.iter().map(|row| (row.name.as_str(), row.failures)).collect();
    assert_eq!(shown, [("192.0.4.0/24", 5), ("192.0.3.0/24", 4), ("3 others", 6)]);
    assert_eq!((table.attempts, table.failures, table.most), (20, 15, 5));
    assert_eq!(table.rows[2].cells, [1, 2, 3, 0, 0]);
    assert_eq!(count.table(0).rows.len(), 1);
    assert_eq!(count.table(5).rows.len(), 5);
}

#[test]
fn count_all_includes_successes() {
    let mut count = Count::new(Prefixes::default(), None, Which::All);
    for (ts, result, daddr) in
        [(1000, "success", "192.0.2.1"), (1001, "success", "192.0.2.2"), (1001, "denied", "198.51.100.1")]
    {
        count.add(&event(ts, result, daddr)).expect("room");
    }
    let table = count.table(20);
    let rows: Vec<_> =
        table.rows.iter().map(|row| (row.name.as_str(), row.attempts, row.failures, &row.cells[..])).collect();
    assert_eq!(rows, [("192.0.2.0/24", 2, 0, &[1, 1][..]), ("198.51.100.0/24", 1, 1, &[0, 1])]);
    assert!(text::draw(&table).starts_with("attempts by remote prefix: 3, of which 1 failed\n"));
    assert!(picture::draw(&table).contains("attempts:"));
}

#[test]
fn prefixes_in_excess_of_the_limit_are_counted() {
    let mut count = Count::new(Prefixes { v4: 32, v6: 64 }, None, Which::Failed);
    for i in 0..20_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string();
        count.add(&event(1000 + u64::from(i / 100), "denied", &address)).expect("room");
    }
    let table = count.table(1);
    assert_eq!(table.rows.iter().map(|row| row.failures).sum::<u64>(), 20_000);
    assert_eq!(table.rows.iter().flat_map(|row| &row.cells).sum::<u64>(), 20_000, "merged columns lose nothing");
    assert_eq!(table.rows[1].name, "16383 others or more");
}

#[test]
fn an_empty_table_is_drawn() {
    let count = Count::new(Prefixes::default(), None, Which::Failed);
    let table = count.table(20);
    assert!(text::draw(&table).starts_with("failed attempts by remote prefix: 0 of 0\nNothing to draw."));
    Document::parse(&picture::draw(&table)).expect("XML");
}

#[test]
fn both_pictures_report_lost_attempts() {
    let mut count = Count::new(Prefixes::default(), None, Which::Failed);
    count.add(&event(1000, "denied", "192.0.2.1")).expect("room");
    count.missing = 7;
    let table = count.table(20);
    let said = "LOST: 7 attempts are not counted here.";
    assert!(text::draw(&table).ends_with(&format!("{said}\n")));
    assert!(picture::draw(&table).contains(said));
}

#[test]
fn one_column_to_the_maximum_fit_the_picture() {
    for seconds in [1, 2, 39, 500] {
        let mut count = Count::new(Prefixes::default(), Some(1_000_000_000), Which::Failed);
        for second in 0..seconds {
            count.add(&event(1_795_444_000 + second, "k17", "2001:db8:0:1::2")).expect("room");
        }
        let drawn = picture::draw(&count.table(20));
        let document = Document::parse(&drawn).expect("XML");
        let root = document.root_element();
        let number =
            |node: roxmltree::Node<'_, '_>, name| node.attribute(name).map_or(0, |text| text.parse().expect(name));
        let (width, height): (u64, u64) = (number(root, "width"), number(root, "height"));
        for node in document.descendants().filter(|node| node.is_element()) {
            assert!(number(node, "x") + number(node, "width") <= width && number(node, "y") <= height, "{node:?}");
        }
        let cells = document.descendants().filter(|node| node.has_tag_name("rect") && node.has_children()).count();
        assert_eq!(cells as u64, seconds, "each with its title");
    }
}
