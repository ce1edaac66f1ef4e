//! `/map`: every port at once, in 1,024 blocks of 64, as the chooser sees them.

mod levels;

use std::sync::Arc;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use self::levels::{LEVELS, Layer, conflicts, counts, mean_cost};
use super::errors::PageError;
use super::format::{When, relative};
use super::frame::{Frame, Params};
use super::page::Page;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::attempt::printable;
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::domain::selector::Selector;
use crate::domain::words::{counted, grouped};
use crate::engine::survey::{BLOCK, PortView, Survey};

/// How many blocks there are, and how many stand in a row.
const BLOCKS: u16 = 1024;
const COLUMNS: u16 = 32;

/// So many rows fit a table that loads at once.
const ROWS: usize = 500;

/// The side of a block's square in the drawing.
const SIDE: u16 = 20;

/// The page.
#[derive(Debug, Template)]
#[template(path = "map.html")]
pub(super) struct MapPage {
    frame: Frame,
    as_of: When,
    view: View,
    layers: Vec<Choice>,
    interfaces: Vec<Named>,
    addresses: String,
    notices: Vec<String>,
    legend: Vec<LegendRow>,
    /// What the address of each block begins with.
    prefix: String,
    cells: Vec<Cell>,
    runs: Vec<Run>,
    /// "500 of 1,024", where the table is cut.
    cut: Option<String>,
    other_form: String,
    block: Option<BlockView>,
}

/// What is to be shown, all of it from the address.
#[derive(Debug, Clone, Default)]
struct View {
    is_udp: bool,
    interface: Option<String>,
    layer: Layer,
    /// Blocks of this level alone.
    only: Option<usize>,
    as_table: bool,
    block: Option<u16>,
}

/// A link among several of which one is current.
#[derive(Debug)]
struct Choice {
    label: &'static str,
    href: String,
    current: bool,
}

/// An interface to choose.
#[derive(Debug)]
struct Named {
    value: String,
    label: String,
    chosen: bool,
}

/// One level in the legend.
#[derive(Debug)]
struct LegendRow {
    level: usize,
    letter: &'static str,
    means: &'static str,
    blocks: String,
    ports: String,
    href: String,
    chosen: bool,
}

/// One block in the drawing.
#[derive(Debug)]
struct Cell {
    block: u16,
    x: u16,
    y: u16,
    title: String,
    level: usize,
    shown: bool,
}

/// Blocks in a row that are alike, as a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    first: u16,
    last: u16,
    level: usize,
    says: String,
}

/// The chosen block.
#[derive(Debug)]
struct BlockView {
    first: u16,
    last: u16,
    x: u16,
    y: u16,
    says: String,
    before: Option<String>,
    after: Option<String>,
    ports: Vec<PortCell>,
}

/// One port of the chosen block.
#[derive(Debug)]
struct PortCell {
    number: u16,
    level: usize,
    letter: &'static str,
    says: String,
}

/// Shows the map.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<Page<MapPage>, PageError> {
    let view = View::of(&params);
    let on = view.selectors()?;
    let survey = face.service.survey(view.protocol(), &on);
    let survey = survey.map_err(Problem::from)?;
    let mut page = MapPage::of(view, &survey);
    page.frame = frame;
    page.interfaces = interfaces(&face, &page.view);
    if let Some(block) = page.view.block {
        let leases = face.service.leases();
        let leases = leases
            .iter()
            .filter(|lease| lease.protocol == page.view.protocol())
            .filter(|lease| lease.port.get() / BLOCK == block)
            .filter(|lease| lease.addresses.overlaps(&survey.group));
        let leases: Vec<&Arc<Lease>> = leases.collect();
        page.block = Some(BlockView::of(&page.view, block, &survey, &leases, &viewer));
    }
    Ok(Page(page))
}

fn interfaces(face: &AppState, view: &View) -> Vec<Named> {
    let host = face.service.interfaces().current();
    let names = host.map(|host| {
        let names = host.interfaces.iter().map(|known| known.name.to_string());
        names.collect::<Vec<_>>()
    });
    let mut values = vec![String::new(), "any".to_owned()];
    values.extend(names.unwrap_or_default());
    let asked = view.interface.clone().unwrap_or_default();
    if !values.contains(&asked) {
        values.push(asked.clone());
    }
    values
        .into_iter()
        .map(|value| Named {
            chosen: value == asked,
            label: match &*value {
                "" => "the default pool's".to_owned(),
                "any" => "any (wildcards)".to_owned(),
                name => printable(name),
            },
            value,
        })
        .collect()
}

impl View {
    /// What an address asks for; what it says wrongly is as if it were not said.
    fn of(params: &Params) -> Self {
        let number = |key: &str| params.get(key).and_then(|text| text.trim().parse().ok());
        let of_port = number("port").map(|port: u16| port / BLOCK);
        let word = |key: &str, word: &str| params.get(key) == Some(word);
        Self {
            is_udp: word("protocol", "udp"),
            interface: params.get("interface").map(str::to_owned),
            layer: params
                .get("layer")
                .and_then(Layer::parse)
                .unwrap_or_default(),
            only: number("only")
                .map(usize::from)
                .filter(|level| *level < LEVELS),
            as_table: word("as", "table"),
            block: of_port.or(number("block")).filter(|block| *block < BLOCKS),
        }
    }

    const fn protocol(&self) -> Protocol {
        if self.is_udp {
            Protocol::Udp
        } else {
            Protocol::Tcp
        }
    }

    fn selectors(&self) -> Result<Vec<Selector>, Problem> {
        let parsed = self.interface.as_deref().map(str::parse::<Selector>);
        let parsed = parsed.transpose();
        let parsed =
            parsed.map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
        Ok(parsed.into_iter().collect())
    }

    /// The same as an address, without what is usual.
    fn params(&self) -> Params {
        let mut params = Params::default();
        let block = self.block.map(|block| block.to_string());
        let only = self.only.map(|level| level.to_string());
        let said = [
            ("protocol", self.is_udp.then_some("udp")),
            ("interface", self.interface.as_deref()),
            (
                "layer",
                Some(self.layer.word()).filter(|_| self.layer != Layer::State),
            ),
            ("only", only.as_deref()),
            ("as", self.as_table.then_some("table")),
            ("block", block.as_deref()),
        ];
        for (key, value) in said {
            if let Some(value) = value {
                params = params.with(key, value);
            }
        }
        params
    }

    /// The address of the page itself where nothing is left to say.
    fn href(params: &Params) -> String {
        format!("/map{}", params.query())
    }

    fn layers(&self) -> Vec<Choice> {
        let params = self.params().without("only");
        let choice = |layer: Layer| Choice {
            label: layer.label(),
            href: Self::href(&params.with("layer", layer.word())),
            current: layer == self.layer,
        };
        Layer::ALL.map(choice).into()
    }

    /// What comes before the number of a block in its address.
    fn prefix(&self) -> String {
        let query = self.params().without("block").query();
        let start = if query.is_empty() { "?" } else { "&" };
        format!("{query}{start}block=")
    }

    fn of_block(&self, block: u16) -> String {
        Self::href(&self.params().with("block", &block.to_string()))
    }

    fn shows(&self, level: usize) -> bool {
        self.only.is_none_or(|only| only == level)
    }
}

/// The first and the last port of a block. There is no port 0.
const fn bounds(block: u16) -> (u16, u16) {
    let first = block * BLOCK;
    let last = first + (BLOCK - 1);
    (if first == 0 { 1 } else { first }, last)
}

/// Where a block stands in the drawing.
const fn place(block: u16) -> (u16, u16) {
    (block % COLUMNS * SIDE, block / COLUMNS * SIDE)
}

fn ports_of(survey: &Survey, block: u16) -> &[PortView] {
    let (first, last) = bounds(block);
    let range = usize::from(first)..=usize::from(last);
    survey.ports.get(range).unwrap_or_default()
}

/// What a block shows, in words.
fn says(layer: Layer, ports: &[PortView], now: Timestamp) -> String {
    let now_ms = now.as_millisecond();
    match layer {
        Layer::Cost => mean_cost(ports).map_or_else(
            || "nothing to be chosen".to_owned(),
            |cost| format!("{cost:.2} on average"),
        ),
        Layer::Conflicts => counted(conflicts(ports), "conflict"),
        Layer::Used if layer.of_block(ports, now_ms) == 5 => "in use now".to_owned(),
        Layer::Used => {
            let latest = ports.iter().filter_map(|port| port.news_ms).max();
            let latest = latest.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
            latest.map_or_else(|| "never".to_owned(), |at| relative(at, now))
        }
        Layer::State | Layer::Policy => {
            let counts = counts(ports.iter().map(|port| layer.of_port(port, now_ms)));
            let said = counts.iter().zip(layer.meanings());
            let said = said.filter(|(count, _)| **count > 0);
            let said: Vec<String> = said
                .map(|(count, means)| format!("{count} {means}"))
                .collect();
            said.join(", ")
        }
    }
}

impl MapPage {
    fn of(view: View, survey: &Survey) -> Self {
        let cells: Vec<Cell> = (0..BLOCKS)
            .map(|block| Cell::of(&view, block, survey))
            .collect();
        let table = if view.as_table { "" } else { "table" };
        let addresses = survey.group.addresses().iter();
        let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
        let (cells, mut runs) = if view.as_table {
            (Vec::new(), runs(&cells, &view))
        } else {
            (cells, Vec::new())
        };
        let cut = runs.len() > ROWS;
        let cut = cut.then(|| format!("{ROWS} of {}", grouped(runs.len())));
        runs.truncate(ROWS);
        Self {
            frame: Frame::default(),
            as_of: When::of(survey.at, survey.at),
            layers: view.layers(),
            interfaces: Vec::new(),
            addresses: addresses.join(", "),
            notices: notices(survey),
            legend: legend(&view, survey),
            prefix: view.prefix(),
            other_form: View::href(&view.params().with("as", table)),
            block: None,
            cells,
            runs,
            cut,
            view,
        }
    }
}

/// What the reader should know of what is not known.
fn notices(survey: &Survey) -> Vec<String> {
    let notice = match survey.snapshots {
        None => {
            "Nothing was learned of these addresses yet, so every port costs the same but for the rules: history begins with the first request for them."
        }
        Some(0) => {
            "No snapshot was taken yet: who else is on which port is known with the first one."
        }
        Some(_) => return Vec::new(),
    };
    vec![notice.to_owned()]
}

fn legend(view: &View, survey: &Survey) -> Vec<LegendRow> {
    let (layer, now_ms) = (view.layer, survey.at.as_millisecond());
    let blocks = counts((0..BLOCKS).map(|block| layer.of_block(ports_of(survey, block), now_ms)));
    let ports = survey.ports.iter().skip(1);
    let ports = counts(ports.map(|port| layer.of_port(port, now_ms)));
    let row = |level: usize| {
        let chosen = view.only == Some(level);
        let params = if chosen {
            view.params().without("only")
        } else {
            view.params().with("only", &level.to_string())
        };
        LegendRow {
            level,
            letter: layer.letters()[level],
            means: layer.meanings()[level],
            blocks: counted(blocks[level], "block"),
            ports: counted(ports[level], "port"),
            href: View::href(&params),
            chosen,
        }
    };
    (0..LEVELS).rev().map(row).collect()
}

impl Cell {
    fn of(view: &View, block: u16, survey: &Survey) -> Self {
        let ports = ports_of(survey, block);
        let level = view.layer.of_block(ports, survey.at.as_millisecond());
        let (x, y) = place(block);
        Self {
            block,
            x,
            y,
            title: says(view.layer, ports, survey.at),
            level,
            shown: view.shows(level),
        }
    }

    const fn first(&self) -> u16 {
        bounds(self.block).0
    }

    const fn last(&self) -> u16 {
        bounds(self.block).1
    }
}

/// The blocks as a table: neighbours that are alike in one row, and those of which there is nothing
/// to say only where they are asked for.
fn runs(cells: &[Cell], view: &View) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cell in cells {
        if !cell.shown || (cell.level == 0 && view.only.is_none()) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.continues_with(cell) => run.last = cell.last(),
            _ => runs.push(Run {
                first: cell.first(),
                last: cell.last(),
                level: cell.level,
                says: cell.title.clone(),
            }),
        }
    }
    runs
}

impl Run {
    fn continues_with(&self, cell: &Cell) -> bool {
        self.last.checked_add(1) == Some(cell.first())
            && (self.level, &self.says) == (cell.level, &cell.title)
    }

    const fn block(&self) -> u16 {
        self.first / BLOCK
    }

    /// How many blocks it stands for, where they are several.
    fn each(&self) -> Option<String> {
        let blocks = usize::from(self.last / BLOCK - self.block()) + 1;
        (blocks > 1).then(|| format!("in each of {} blocks", grouped(blocks)))
    }
}

impl BlockView {
    fn of(
        view: &View,
        block: u16,
        survey: &Survey,
        leases: &[&Arc<Lease>],
        viewer: &Viewer,
    ) -> Self {
        let ports = ports_of(survey, block);
        let (first, last) = bounds(block);
        let (x, y) = place(block);
        let cell = |(number, port): (u16, &PortView)| {
            let level = view.layer.of_port(port, survey.at.as_millisecond());
            let on_it = leases.iter().find(|lease| lease.port.get() == number);
            PortCell {
                number,
                level,
                letter: view.layer.letters()[level],
                says: port_says(port, on_it.map(|lease| whose(lease, viewer)), survey.at),
            }
        };
        let before = block.checked_sub(1);
        let after = Some(block + 1).filter(|after| *after < BLOCKS);
        Self {
            first,
            last,
            x,
            y,
            says: says(view.layer, ports, survey.at),
            before: before.map(|block| view.of_block(block)),
            after: after.map(|block| view.of_block(block)),
            ports: (first..=last).zip(ports).map(cell).collect(),
        }
    }
}

/// Whose lease it is, as far as this reader may know.
fn whose(lease: &Lease, viewer: &Viewer) -> String {
    match &lease.name {
        Some(name) if viewer.sees(lease.uid) => format!("by {name}"),
        _ => format!("by uid {}", lease.uid),
    }
}

/// Everything about a port in one line.
fn port_says(port: &PortView, whose: Option<String>, now: Timestamp) -> String {
    let level = Layer::State.of_port(port, now.as_millisecond());
    let mut said = vec![Layer::State.meanings()[level].to_owned()];
    said.extend(whose);
    said.extend(port.excluded.map(|reason| reason.describe().to_owned()));
    if port.in_pool {
        said.push(format!("cost {:.2}", port.cost));
    }
    if port.conflicts > 0 {
        said.push(counted(port.conflicts, "conflict"));
    }
    let news = port.news_ms.map(Timestamp::from_millisecond);
    if let Some(Ok(at)) = news {
        said.push(format!("last news {}", relative(at, now)));
    }
    said.join(", ")
}

/// The map with the block of a port.
pub(super) fn href_of(protocol: Protocol, port: Port) -> String {
    let view = View {
        is_udp: protocol == Protocol::Udp,
        ..View::default()
    };
    format!("{}#block", view.of_block(port.get() / BLOCK))
}

#[cfg(test)]
mod tests;
