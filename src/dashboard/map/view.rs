//! The view of the map that its address asks for.

use super::level::{LEVELS, Layer};
use crate::api::problem::{Code, Problem};
use crate::dashboard::frame::Params;
use crate::domain::port::{Port, Protocol};
use crate::domain::selector::Selector;
use crate::engine::survey::BLOCK;

/// Number of blocks.
pub(super) const BLOCKS: u16 = 1024;

/// The view; all of it is in the address.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) is_udp: bool,
    /// A selector; `None` for the addresses of the default pool.
    pub(super) interface: Option<String>,
    pub(super) layer: Layer,
    /// The only level shown; `None` for all of them.
    pub(super) only: Option<usize>,
    pub(super) as_table: bool,
    /// Whether the drawing has blocks outside of all pools too.
    pub(super) all: bool,
    /// The chosen block.
    pub(super) block: Option<u16>,
    /// The port by which the block was chosen.
    pub(super) port: Option<u16>,
}

impl View {
    /// Reads a view from an address. Values that cannot be read are ignored.
    pub(super) fn of(params: &Params) -> Self {
        let number = |key: &str| params.get(key).and_then(|text| text.trim().parse().ok());
        let port: Option<u16> = number("port");
        let of_port = port.map(|port| port / BLOCK);
        let word = |key: &str, word: &str| params.get(key) == Some(word);
        let only = number("only").map(usize::from);
        let layer = params.get("layer").and_then(|word| word.parse().ok());
        Self {
            is_udp: word("protocol", "udp"),
            interface: params.get("interface").map(str::to_owned),
            layer: layer.unwrap_or_default(),
            only: only.filter(|level| *level < LEVELS),
            as_table: word("as", "table"),
            all: word("all", "1"),
            block: of_port.or(number("block")).filter(|block| *block < BLOCKS),
            port,
        }
    }

    pub(super) const fn protocol(&self) -> Protocol {
        if self.is_udp {
            Protocol::Udp
        } else {
            Protocol::Tcp
        }
    }

    pub(super) fn selectors(&self) -> Result<Vec<Selector>, Problem> {
        let Some(text) = &self.interface else {
            return Ok(Vec::new());
        };
        let selector = text.parse::<Selector>();
        let selector =
            selector.map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()));
        Ok(vec![selector?])
    }

    /// The view as an address, without defaults.
    pub(super) fn params(&self) -> Params {
        let block = self.block.map(|block| block.to_string());
        let only = self.only.map(|level| level.to_string());
        let layer = Some(self.layer.word()).filter(|_| self.layer != Layer::default());
        let said = [
            ("protocol", self.is_udp.then_some("udp")),
            ("interface", self.interface.as_deref()),
            ("layer", layer),
            ("only", only.as_deref()),
            ("as", self.as_table.then_some("table")),
            ("all", self.all.then_some("1")),
            ("block", block.as_deref()),
        ];
        let said = said.into_iter();
        said.filter_map(|(key, value)| Some((key, value?)))
            .fold(Params::default(), |params, (key, value)| {
                params.with(key, value)
            })
    }

    /// This map in another layer.
    pub(super) fn of_layer(&self, layer: Layer) -> String {
        let params = self.params().without("only");
        params.with("layer", layer.word()).link("/map")
    }

    /// This map in the other form: a drawing, or a table.
    pub(super) fn other_form(&self) -> String {
        let form = if self.as_table { "" } else { "table" };
        self.params().with("as", form).link("/map")
    }

    /// This map with all blocks, or with those of pools if it has all.
    pub(super) fn other_extent(&self) -> String {
        let all = if self.all { "" } else { "1" };
        self.params().with("all", all).link("/map")
    }

    /// Whether the drawing has every block: the lowest level is mostly outside of the pools.
    pub(super) fn is_whole(&self) -> bool {
        self.all || self.only == Some(0)
    }

    /// This map with the blocks of one level, or with all blocks if it shows those already.
    pub(super) fn of_level(&self, level: usize) -> String {
        let params = if self.only == Some(level) {
            self.params().without("only")
        } else {
            self.params().with("only", &level.to_string())
        };
        params.link("/map")
    }

    /// This map with another block, up to the block's number.
    pub(super) fn prefix(&self) -> String {
        let query = self.params().without("block").query();
        let start = if query.is_empty() { "?" } else { "&" };
        format!("{query}{start}block=")
    }

    pub(super) fn of_block(&self, block: u16) -> String {
        self.params().with("block", &block.to_string()).link("/map")
    }

    pub(super) fn shows(&self, level: usize) -> bool {
        self.only.is_none_or(|only| only == level)
    }
}

/// The map with the block of a port.
pub(in crate::dashboard) fn href_of(protocol: Protocol, port: Port) -> String {
    let view = View {
        is_udp: protocol == Protocol::Udp,
        ..View::default()
    };
    format!("{}#block", view.of_block(port.get() / BLOCK))
}
