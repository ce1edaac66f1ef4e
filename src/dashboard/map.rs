//! `/map`: ports in blocks of 64, those of pools or all 1,024, with the values that decide a choice.

mod block;
mod drawing;
mod excluded;
mod level;
mod view;

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_ENCODING, HeaderValue};
use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;
use strum::VariantArray;

use self::block::{BlockView, Cell, Run, ports_of, runs};
use self::drawing::Drawing;
use self::excluded::Excluded;
use self::level::{LEVELS, Layer, counts};
use self::view::{BLOCKS, View};
use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::form::{Choice, Field};
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::domain::attempt::printable;
use crate::domain::lease::Lease;
use crate::domain::words::grouped;
use crate::engine::survey::{BLOCK, Survey};

pub(super) use self::view::href_of;

/// Maximum number of rows of the table.
const ROWS: usize = 500;

#[derive(Debug, Template)]
#[template(path = "map.html")]
pub(super) struct MapPage {
    frame: Frame,
    /// Time of the survey.
    now: Timestamp,
    view: View,
    interfaces: Vec<Choice>,
    addresses: String,
    notice: Option<&'static str>,
    legend: Vec<LegendRow>,
    /// Begin of the address of each block, before its number.
    prefix: String,
    drawing: Drawing,
    runs: Vec<Run>,
    /// "500 of 1,024" if the table is cut.
    cut: Option<String>,
    block: Option<BlockView>,
    excluded: Vec<Excluded>,
}

/// A level in the legend, with the numbers of blocks and ports on it.
#[derive(Debug)]
struct LegendRow {
    level: usize,
    blocks: usize,
    ports: usize,
}

/// Shows the map.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<HttpResponse, PageError> {
    let view = View::of(&params);
    let on = view.selectors()?;
    let survey = face.service.survey(view.protocol(), &on);
    let survey = survey.map_err(Problem::from)?;
    let block = view.block.map(|block| {
        let leases = face.service.leases();
        let leases = leases
            .iter()
            .filter(|lease| lease.protocol == view.protocol())
            .filter(|lease| lease.port.get() / BLOCK == block)
            .filter(|lease| lease.addresses.overlaps(&survey.group));
        let leases: Vec<&Arc<Lease>> = leases.collect();
        BlockView::of(&view, block, &survey, &leases, &viewer)
    });
    let page = MapPage {
        interfaces: interfaces(&face, &params),
        excluded: excluded::rows(face.service.exclusions().iter()),
        block,
        frame,
        ..MapPage::of(view, &survey)
    };
    let has_texts = page.has_texts_of_users();
    let mut answer = Page(page).answer();
    if has_texts {
        let plain = HeaderValue::from_static("identity");
        answer.headers_mut().insert(CONTENT_ENCODING, plain);
    }
    Ok(answer)
}

fn interfaces(face: &AppState, params: &Params) -> Vec<Choice> {
    let host = face.service.interfaces().current();
    let names = host.map(|host| {
        let names = host.interfaces.iter();
        names.map(|known| known.name.to_string()).collect()
    });
    let names: Vec<String> = names.unwrap_or_default();
    let any = [("any".to_owned(), "any (wildcards)".to_owned())];
    let listed = names.into_iter().map(|name| {
        let label = printable(&name);
        (name, label)
    });
    let known = any.into_iter().chain(listed);
    let open = "the default pool's";
    Field::choice(params, "interface", "Addresses", open, known).choices
}

impl MapPage {
    /// Whether a lease's name or the reason of an exclusion is on the page. Such a page is sent as it is.
    const fn has_texts_of_users(&self) -> bool {
        self.block.is_some() || !self.excluded.is_empty()
    }

    /// The map without the frame, the interfaces and the chosen block.
    fn of(view: View, survey: &Survey) -> Self {
        let cells: Vec<Cell> = (0..BLOCKS)
            .map(|block| Cell::of(&view, block, survey))
            .collect();
        let (drawing, mut runs) = if view.as_table {
            (Drawing::default(), runs(&cells, &view))
        } else {
            (Drawing::of(&view, cells, survey), Vec::new())
        };
        let cut = runs.len() > ROWS;
        let cut = cut.then(|| format!("{ROWS} of {}", grouped(runs.len())));
        runs.truncate(ROWS);
        let addresses = survey.group.addresses().iter();
        let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
        Self {
            frame: Frame::default(),
            now: survey.at,
            interfaces: Vec::new(),
            addresses: addresses.join(", "),
            notice: notice(survey),
            legend: legend(&view, survey),
            prefix: view.prefix(),
            block: None,
            excluded: Vec::new(),
            drawing,
            runs,
            cut,
            view,
        }
    }
}

/// A sentence about missing evidence.
const fn notice(survey: &Survey) -> Option<&'static str> {
    match survey.snapshots {
        None => Some(
            "There is no history of these addresses yet: it begins with the first request for them. Until then only the rules make a difference between ports.",
        ),
        Some(0) => {
            Some("No snapshot was taken yet: the first one will show the ports of other programs.")
        }
        Some(_) => None,
    }
}

/// The levels, the highest first.
fn legend(view: &View, survey: &Survey) -> Vec<LegendRow> {
    let (layer, now_ms) = (view.layer, survey.at.as_millisecond());
    let blocks = counts((0..BLOCKS).map(|block| layer.of_block(ports_of(survey, block), now_ms)));
    let ports = survey.ports.iter().skip(1);
    let ports = counts(ports.map(|port| layer.of_port(port, now_ms)));
    let row = |level: usize| LegendRow {
        level,
        blocks: blocks[level],
        ports: ports[level],
    };
    (0..LEVELS).rev().map(row).collect()
}

#[cfg(test)]
mod tests;
