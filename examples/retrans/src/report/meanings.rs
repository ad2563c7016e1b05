// SPDX-License-Identifier: MIT OR Apache-2.0
//! The meanings of the values on the page: the pages of the results, and the descriptions of the
//! tables of the SDK.

use std::collections::BTreeSet;
use std::fmt::Display;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Tag, TagEnd};
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{RetransKind, RetransResult};

use super::html::Html;
use super::model::Model;
use crate::explain::facts::{VARIABLES, described};
use crate::explain::page::Page;

/// The description of a value without a row in its table.
const UNLISTED: &str = "A number without a name in this version.";

pub(crate) fn draw(html: &mut Html, model: &Model) {
    let results: BTreeSet<RetransResult> = model.results.keys().copied().collect();
    let kinds: BTreeSet<RetransKind> = model
        .results
        .sorted_by(|outcome| outcome.attempts)
        .into_iter()
        .flat_map(|(_, outcome)| outcome.kinds.keys().copied())
        .collect();
    html.raw("<section id=\"meanings\">\n<h2>What the values mean</h2>\n");
    if !results.is_empty() {
        html.raw("<p>In the commands, <code>$saddr</code>, <code>$sport</code>, <code>$daddr</code> and <code>$dport</code> are the ");
        html.raw("values of an attempt");
        for (name, meaning) in VARIABLES {
            html.raw(", <code>$").raw(name).raw("</code> is ").text(meaning.replace('`', ""));
        }
        html.raw(". <code>retrans explain</code> prints them filled in. Run them on the host of the recording.</p>\n");
    }
    for result in &results {
        explain(html, *result, &results);
    }
    list(html, "Kinds of retransmission", "kind", kinds);
    list(html, "Reasons of drops", "drop", model.droppers.keys().filter_map(|(reason, ..)| *reason).collect());
    list(html, "Causes of the end of a connection", "why", model.ended.keys().copied().collect());
    list(html, "Proofs that attempts were unneeded", "proof", model.unneeded.keys().copied().collect());
    html.raw("</section>\n");
}

fn explain(html: &mut Html, result: RetransResult, shown: &BTreeSet<RetransResult>) {
    html.raw("<article class=\"md\" id=\"result-").text(result).raw("\">\n<h3><code>").text(result);
    html.raw("</code> <span class=\"faint\">class ").text(result.class()).raw("</span></h3>\n<p>");
    html.text(described(result.entry(), UNLISTED)).raw("</p>\n");
    if let Some(page) = Page::of(result) {
        for (title, markdown) in [
            ("What the kernel did", page.happened),
            ("What else it may be, or does not show", page.alternatives),
            ("What to look at next", page.next),
        ] {
            html.raw("<details><summary>").raw(title).raw("</summary>\n");
            html.append(&convert(markdown, shown)).raw("</details>\n");
        }
    }
    html.raw("</article>\n");
}

/// Converts a part of a page. A link to another result leads to its meaning on this page, if it is
/// there. The other links become their text, because the page must not need the documentation.
fn convert(markdown: &'static str, shown: &BTreeSet<RetransResult>) -> Html {
    let mut kept = Vec::new();
    let mut in_code = false;
    Html::of_markdown(markdown, |event| {
        Some(match event {
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let name = dest_url.strip_suffix(".md").and_then(|name| name.parse::<RetransResult>().ok());
                let name = name.filter(|result| shown.contains(result));
                kept.push(name.is_some());
                let dest_url = CowStr::from(format!("#result-{}", name?));
                Event::Start(Tag::Link { link_type, dest_url, title, id })
            }
            Event::End(TagEnd::Link) => kept.pop().unwrap_or_default().then_some(Event::End(TagEnd::Link))?,
            Event::Start(Tag::CodeBlock(_)) => {
                in_code = true;
                Event::Start(Tag::CodeBlock(CodeBlockKind::Indented))
            }
            Event::End(TagEnd::CodeBlock) => {
                in_code = false;
                event
            }
            // The pages are for a checkout.
            Event::Text(text) if in_code => Event::Text(text.replace("target/release/retrans", "retrans").into()),
            Event::Start(Tag::Heading { id, classes, attrs, .. }) => {
                Event::Start(Tag::Heading { level: HeadingLevel::H4, id, classes, attrs })
            }
            Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Heading(HeadingLevel::H4)),
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => return None,
            other => other,
        })
    })
}

fn list<T: ReasonTable + Display>(html: &mut Html, title: &'static str, table: &'static str, values: BTreeSet<T>) {
    if values.is_empty() {
        return;
    }
    html.raw("<h3>").raw(title).raw("</h3>\n<dl class=\"facts\">\n");
    for value in values {
        html.raw("<dt class=\"m\" id=\"").raw(table).raw("-").text(value).raw("\">").text(value).raw("</dt><dd>");
        html.text(described(value.entry(), UNLISTED)).raw("</dd>\n");
    }
    html.raw("</dl>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_meanings_on_the_page_or_become_text() {
        let shown = BTreeSet::from([RetransResult::ErrDefault]);
        let page = Page::of(RetransResult::Denied).expect("a page");
        let html = convert(page.alternatives, &shown).finish();
        assert!(html.contains("<a href=\"#result-err_default\"><code>err_default</code></a>"), "{html}");
        assert!(html.contains("causes\n<code>xmit_drop</code>") && !html.contains(".md"), "{html}");
        assert!(html.contains("<table>"), "{html}");
    }

    #[test]
    fn no_page_of_a_result_contains_markup_or_a_link_to_elsewhere() {
        let all: BTreeSet<_> = RetransResult::ALL.iter().map(|entry| entry.variant).collect();
        for result in &all {
            let mut html = Html::default();
            explain(&mut html, *result, &all);
            let html = html.finish();
            assert_eq!(html.matches("href=\"").count(), html.matches("href=\"#result-").count(), "{result}");
            assert!(!html.contains("target/release") && !html.contains("<!--") && !html.contains("src="), "{result}");
            assert_eq!(html.matches("<details>").count(), 3, "{result}");
        }
    }
}
