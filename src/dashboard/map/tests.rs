use super::block::bounds;
use super::*;
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::engine::survey::{PortView, Standing};

fn survey(change: impl Fn(u16, &mut PortView)) -> Survey {
    let port = |number| {
        let mut port = PortView {
            standing: Standing::Free,
            in_pool: true,
            cost: 0.1,
            ..PortView::default()
        };
        change(number, &mut port);
        port
    };
    Survey {
        at: Timestamp::UNIX_EPOCH,
        group: AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]),
        snapshots: Some(1),
        ports: (0..=u16::MAX).map(port).collect(),
    }
}

fn view(query: &str) -> View {
    View::of(&Params::parse(query))
}

#[test]
fn blocks_cover_every_port_once() {
    assert_eq!(bounds(0), (1, 63));
    assert_eq!(bounds(1), (64, 127));
    assert_eq!(bounds(BLOCKS - 1), (65_472, 65_535));
    let ports: u32 = (0..BLOCKS)
        .map(|block| u32::from(bounds(block).1 - bounds(block).0) + 1)
        .sum();
    assert_eq!(ports, 65_535);
    assert_eq!(ports_of(&survey(|_, _| ()), 0).len(), 63);
}

/// Places of the blocks of a drawing, by their first ports.
fn places(query: &str, survey: &Survey) -> Vec<(u16, u16, u16)> {
    let drawing = MapPage::of(view(query), survey).drawing;
    let place = |cell: &Cell| (cell.first(), cell.x, cell.y);
    drawing.cells.iter().map(place).collect()
}

#[test]
fn map_begins_with_the_pools() {
    let survey = survey(|number, port| {
        let pools = [8_888..8_988, 20_000..21_200];
        if !pools.iter().any(|ports| ports.contains(&number)) {
            (port.standing, port.in_pool) = (Standing::Outside, false);
        }
        if number == 40_000 {
            port.standing = Standing::Contested;
        }
    });
    let of_pools = places("", &survey);
    assert_eq!(
        of_pools[..3],
        [(8_832, 0, 0), (8_896, 20, 0), (8_960, 40, 0)]
    );
    assert_eq!(
        of_pools[3],
        (19_968, 0, 20),
        "another pool has a row of its own"
    );
    assert_eq!(of_pools[19], (20_992, 0, 40), "the row is full");
    assert_eq!(
        *of_pools.last().unwrap(),
        (40_000, 0, 60),
        "a lost lease is shown"
    );
    let page = MapPage::of(view(""), &survey);
    let labels: Vec<u16> = page
        .drawing
        .labels
        .iter()
        .map(|(first, _)| *first)
        .collect();
    assert_eq!(labels, [8_832, 19_968, 20_992, 40_000]);
    for whole in ["all=1", "only=0"] {
        let all = places(whole, &survey);
        assert_eq!((all[33], all.len()), ((2_112, 20, 20), 1_024), "{whole}");
    }
    let labels = MapPage::of(view("all=1"), &survey).drawing.labels;
    assert_eq!((labels.len(), labels[1]), (8, (8_192, 94)));
}

#[test]
fn letters_of_a_level_in_a_row_are_one_text() {
    let survey = survey(|number, port| {
        let levels = [(64..128, Standing::Leased), (192..256, Standing::Leased)];
        let found = levels.iter().find(|(ports, _)| ports.contains(&number));
        port.standing = found.map_or(Standing::Outside, |(_, standing)| *standing);
        port.in_pool = found.is_some();
    });
    let page = MapPage::of(view("all=1"), &survey);
    let runs = page.drawing.letters(page.view.layer.letters());
    let text = page.view.layer.letters()[runs[0].level];
    assert_eq!((runs.len(), &*runs[0].text), (1, &*text.repeat(2)));
    assert_eq!((&*runs[0].places(), runs[0].y), ("29.25 69.25", 13.6));
    let html = page.render().unwrap();
    assert!(html.contains("x=\"29.25 69.25\" y=\"13.6\""), "{html}");
    let hidden = MapPage::of(view("all=1&only=5"), &survey).drawing;
    assert!(hidden.letters(page.view.layer.letters()).is_empty());
}

#[test]
fn map_without_a_pool_tells_the_way_to_all_ports() {
    let survey = survey(|_, port| (port.standing, port.in_pool) = (Standing::Outside, false));
    let text = MapPage::of(view(""), &survey).render().unwrap();
    assert!(
        text.contains("No pool has a port here") && text.contains("?all=1"),
        "{text}"
    );
}

#[test]
fn address_has_the_view_and_nothing_else() {
    let all = "protocol=udp&interface=lo&layer=cost&only=3&as=table&all=1&block=7";
    assert_eq!(view(all).params().query(), format!("?{all}"));
    let wrong = "protocol=sctp&layer=x&only=6&as=&block=1024&junk=1&said=x";
    assert_eq!(view(wrong).params().query(), "");
    assert_eq!(view("port=8080").block, Some(126));
    assert_eq!(view("").prefix(), "?block=");
    assert_eq!(view("layer=used&block=3").prefix(), "?layer=used&block=");
}

#[test]
fn legend_counts_and_filters_levels() {
    let survey = survey(|number, port| {
        if number == 70 || number == 71 || number == 200 {
            port.standing = Standing::Leased;
        }
    });
    let view = view("only=4");
    let rows = legend(&view, &survey);
    let counts = |index: usize| (rows[index].level, rows[index].blocks, rows[index].ports);
    assert_eq!(counts(1), (4, 2, 3));
    assert_eq!(counts(4), (1, 1_022, 65_532));
    assert_eq!(view.of_level(4), "/map");
    assert_eq!(view.of_level(1), "/map?only=1");
}

#[test]
fn equal_neighbours_share_a_row() {
    let survey = survey(|number, port| match number {
        130 => port.standing = Standing::Others,
        0..256 => {}
        _ => (port.standing, port.in_pool) = (Standing::Outside, false),
    });
    let page = MapPage::of(view("as=table"), &survey);
    let rows: Vec<(u16, u16, usize)> = page
        .runs
        .iter()
        .map(|run| (run.first, run.last, run.level))
        .collect();
    // The first block has one port less than the next one.
    assert_eq!(
        rows,
        [(1, 63, 1), (64, 127, 1), (128, 191, 3), (192, 255, 1)]
    );
    let outside = MapPage::of(view("as=table&only=0"), &survey);
    assert_eq!(outside.runs.len(), 1);
    assert_eq!(outside.runs[0].each().unwrap(), "in each of 1,020 blocks");
}

#[test]
fn page_is_small_and_inert() {
    let survey = survey(|number, port| {
        port.standing = match number % 6 {
            0 => Standing::Outside,
            1 => Standing::Free,
            2 => Standing::Excluded,
            3 => Standing::Others,
            4 => Standing::Leased,
            _ => Standing::Contested,
        };
    });
    for form in ["", "&as=table&only=5"] {
        let query = format!("protocol=udp&interface=abcdefghijklmno&block=1023{form}");
        let text = MapPage::of(view(&query), &survey).render().unwrap();
        assert!(text.len() < 300_000, "{}", text.len());
        assert!(!text.contains("style="));
    }
    let hostile = view("interface=%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    let mut page = MapPage::of(hostile, &survey);
    page.addresses.push_str("<script>alert(1)");
    assert!(!page.render().unwrap().contains("<script>alert"));
}

#[test]
fn other_users_leases_show_the_user_only() {
    let mut lease = crate::domain::lease::tests_support::lease(70);
    lease.name = Some("secret".parse().unwrap());
    let lease = Arc::new(lease);
    let survey = survey(|_, _| ());
    let said = |uid| {
        let viewer = Viewer::Reader { of: uid };
        let block = BlockView::of(&view(""), 1, &survey, &[&lease], &viewer);
        block.ports[6].says.clone()
    };
    assert!(said(1000).contains("by secret"));
    assert!(said(1).contains("by uid 1000") && !said(1).contains("secret"));
}
