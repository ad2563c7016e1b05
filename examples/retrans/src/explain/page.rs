// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of the results, which the program contains.

use retrans_sdk::RetransResult;

/// A page of docs/results, in parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The section about what the kernel did.
    pub(crate) happened: &'static str,
    /// Other causes of the same errno, or what the result does not show.
    pub(crate) alternatives: &'static str,
    /// The section about what to look at, with commands.
    pub(crate) next: &'static str,
}

macro_rules! pages {
    ($($result:literal)*) => {
        /// The pages, by result.
        const PAGES: &[(&str, &str)] =
            &[$( ($result, include_str!(concat!("../../../../docs/results/", $result, ".md"))), )*];
    };
}
pages! {
    "err_default" "success" "in_host_queue" "end_seq_error" "trim_head_nomem" "unclone_nomem" "frag_nomem"
    "route_fail" "rcv_zero_window" "pskb_copy_nobufs" "nomem" "nobufs" "denied" "xmit_drop"
}

impl Page {
    /// Returns the page of a result. `None` for a number without a name.
    pub(crate) fn of(result: RetransResult) -> Option<Self> {
        let name = result.to_string();
        let (_, text) = PAGES.iter().find(|(page, _)| *page == name)?;
        let kernel = section(text, "What the kernel did");
        // This part begins with a sentence in bold.
        let at = kernel.find("\n**").map_or(kernel.len(), |at| at + 1);
        let (happened, alternatives) = kernel.split_at(at);
        Some(Self { happened, alternatives, next: section(text, "What to look at next") })
    }
}

/// Returns the text below a heading.
fn section(page: &'static str, heading: &str) -> &'static str {
    let below = page.split("\n## ").find_map(|part| part.strip_prefix(heading));
    below.unwrap_or_default().trim_matches('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_a_page_with_all_parts() {
        for entry in RetransResult::ALL {
            let (_, text) = PAGES.iter().find(|(name, _)| *name == entry.value).expect("a page");
            assert!(text.contains(&format!("\n# `{}`\n", entry.value)));
            let page = Page::of(entry.variant).unwrap_or_else(|| panic!("no page of {}", entry.value));
            for part in [page.happened, page.alternatives, page.next] {
                assert!(part.len() > 80 && !part.contains("\n## "), "{}: {part}", entry.value);
            }
            assert!(page.alternatives.starts_with("**") && !page.happened.contains("\n**"), "{}", entry.value);
        }
        assert!(Page::of(RetransResult::from_raw(17)).is_none());
        assert_eq!(PAGES.len(), RetransResult::ALL.len());
    }
}
