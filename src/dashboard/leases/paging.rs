//! The pages of the list of leases: their size, their number, and the links between them.

use crate::dashboard::frame::Params;
use crate::dashboard::part::rows::size;
use crate::domain::lease::LeaseId;
use crate::domain::words::grouped;

/// Keys of the address that tell where a page begins.
const PLACES: [&str; 3] = ["after", "row", "page"];

/// A query that begins at the first page.
pub(super) fn first(params: &Params) -> Params {
    PLACES
        .iter()
        .fold(params.clone(), |params, key| params.without(key))
}

/// The place of a page in its list, and the links to others.
#[derive(Debug, Default)]
pub(super) struct Pager {
    /// "Rows 101 to 200 of 5,057". `None` if the number of all rows is not known.
    pub(super) says: Option<String>,
    pub(super) first: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
    pub(super) last: Option<String>,
    /// Number of this page, from 1.
    pub(super) number: usize,
    /// Number of pages. Zero if it is not known.
    pub(super) pages: usize,
    /// The query of the first page, for the form that leads to a page by its number.
    pub(super) kept: Params,
}

impl Pager {
    /// The pager of a list that is in memory. `next` is the last lease of the page and its index.
    pub(super) fn of(
        params: &Params,
        begin: usize,
        total: usize,
        next: Option<(LeaseId, usize)>,
    ) -> Self {
        let size = size(params);
        let kept = first(params);
        let end = total.min(begin + size);
        let pages = total.div_ceil(size);
        let page = |number: usize| kept.with("page", &number.to_string()).link("/leases");
        let is_cut = begin > 0 || end < total;
        Self {
            says: is_cut.then(|| {
                let [from, to, all] = [begin + 1, end, total].map(grouped);
                format!("Rows {from} to {to} of {all}")
            }),
            first: (begin > 0).then(|| kept.link("/leases")),
            // A page that begins between two others leads to one that overlaps with it: no row is skipped.
            previous: (begin > size).then(|| page(begin.div_ceil(size))),
            last: (end + size < total).then(|| page(pages)),
            number: begin / size + 1,
            pages,
            ..Self::onward(params, next)
        }
    }

    /// The pager of a list that is read page by page.
    pub(super) fn onward(params: &Params, next: Option<(LeaseId, usize)>) -> Self {
        let kept = first(params);
        let next = next.map(|(after, row)| {
            let params = kept.with("after", &after.to_string());
            params.with("row", &row.to_string()).link("/leases")
        });
        Self {
            first: params.get("after").map(|_| kept.link("/leases")),
            next,
            kept,
            ..Self::default()
        }
    }

    /// Whether there is no other page.
    pub(super) const fn is_alone(&self) -> bool {
        self.first.is_none() && self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pager(query: &str, begin: usize, total: usize) -> Pager {
        let next = (begin + 100 < total).then_some((LeaseId(uuid::Uuid::nil()), begin + 100));
        Pager::of(&Params::parse(query), begin, total, next)
    }

    #[test]
    fn short_lists_have_one_page() {
        let pager = pager("", 0, 100);
        assert!(pager.is_alone() && pager.says.is_none());
    }

    #[test]
    fn pages_in_between_lead_everywhere() {
        let pager = pager("pool=web&page=3", 200, 1050);
        assert_eq!(pager.says.unwrap(), "Rows 201 to 300 of 1,050");
        assert_eq!((pager.number, pager.pages), (3, 11));
        assert_eq!(pager.first.unwrap(), "/leases?pool=web");
        assert_eq!(pager.previous.unwrap(), "/leases?pool=web&page=2");
        assert_eq!(pager.last.unwrap(), "/leases?pool=web&page=11");
        assert!(pager.next.unwrap().ends_with("&row=300"));
    }

    #[test]
    fn previous_page_skips_no_row() {
        assert!(pager("", 103, 300).previous.unwrap().ends_with("page=2"));
        assert_eq!(pager("", 100, 300).previous, None, "the first one is it");
    }
}
