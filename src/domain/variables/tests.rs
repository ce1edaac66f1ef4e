use super::*;

fn group(name: &str, ports: &[u16]) -> Group {
    Group {
        name: name.parse().ok(),
        ports: ports.iter().filter_map(|port| Port::new(*port)).collect(),
        in_a_row: false,
        numbered: ports.len() > 1,
        bind_host: "127.0.0.1".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        wishes: Wishes::default(),
        only_referred_to: false,
    }
}

fn listed(groups: &Groups) -> Vec<String> {
    let variables = groups.variables().unwrap().values.into_iter();
    variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn filled(groups: &Groups, text: &str) -> Result<String, String> {
    let filled = groups.filled(text, None, Side::Program);
    filled.map_err(|wrong| wrong.to_string())
}

#[test]
fn several_ports_without_a_name_are_numbered() {
    let groups = Groups(vec![group("", &[10, 20])]);
    assert_eq!(
        listed(&groups),
        [
            "HOST=127.0.0.1",
            "PORT=10",
            "PORT_0=10",
            "PORT_1=20",
            "PORT_COUNT=2"
        ]
    );
    assert_eq!(
        filled(&groups, "{port}{port.0}+{port.1}").unwrap(),
        "1010+20"
    );
    let beyond = filled(&groups, "{port.7}").unwrap_err();
    assert!(
        beyond.contains("there are 2, {port.0} to {port.1}"),
        "{beyond}"
    );
    assert!(filled(&groups, "{port+1}").unwrap_err().contains("block"));
    assert!(
        filled(&groups, "{web.port}")
            .unwrap_err()
            .contains("no names")
    );
    assert_eq!(
        filled(&groups, "{\"port\": ${port}}").unwrap(),
        "{\"port\": ${port}}"
    );
}

#[test]
fn one_name_has_its_own_and_bare_variables() {
    let mut ray = group("ray", &[10, 11]);
    ray.in_a_row = true;
    let groups = Groups(vec![ray]);
    let all = listed(&groups);
    for expected in ["PORT=10", "PORT_1=11", "RAY_PORT_1=11", "RAY_PORT_COUNT=2"] {
        assert!(all.iter().any(|it| it == expected), "{expected}: {all:?}");
    }
    assert_eq!(filled(&groups, "{ray.port+1} {port+0}").unwrap(), "11 10");
    assert!(filled(&groups, "{port+2}").is_err());
}

#[test]
fn several_names_have_no_bare_variables() {
    let groups = Groups(vec![group("web", &[10]), group("api", &[20])]);
    assert_eq!(
        listed(&groups),
        [
            "API_HOST=127.0.0.1",
            "API_PORT=20",
            "WEB_HOST=127.0.0.1",
            "WEB_PORT=10"
        ]
    );
    let said = filled(&groups, "{port}").unwrap_err();
    assert!(said.contains("such as {web.port}"), "{said}");
    assert!(
        filled(&groups, "{host}")
            .unwrap_err()
            .contains("{web.host}")
    );
    assert!(
        filled(&groups, "{x.port}")
            .unwrap_err()
            .contains("there are web, api")
    );
    assert_eq!(groups.port_of("api"), Port::new(20));
    assert_eq!(groups.port_of("1"), Port::new(20));
    assert_eq!(groups.port_of("2"), None);
}

#[test]
fn two_names_with_one_variable_are_refused() {
    let groups = Groups(vec![group("my-api", &[1]), group("my_api", &[2])]);
    let said = groups.variables().unwrap_err().to_string();
    assert!(
        said.contains("my-api and my_api both set MY_API_PORT"),
        "{said}"
    );
    let names: Vec<Name> = ["Web", "web"].map(|name| name.parse().unwrap()).to_vec();
    assert!(twins(&names).is_some());
    assert_eq!(twins(&names[..1]), None);
}

#[test]
fn misread_variables_are_left_out_unless_asked_for() {
    let mut docker = group("docker", &[1]);
    let left_out = Groups(vec![docker.clone()]).variables().unwrap();
    assert_eq!(left_out.left_out[0].0, "DOCKER_HOST");
    assert!(!left_out.values.contains_key("DOCKER_HOST"));
    docker.wishes.host_variable = HostVariable::Named("DOCKER_HOST".parse().unwrap());
    let asked_for = Groups(vec![docker]).variables().unwrap();
    assert_eq!(asked_for.values["DOCKER_HOST"], "127.0.0.1");
    assert!(asked_for.left_out.is_empty());
}

#[test]
fn clients_are_told_another_host_than_a_wildcard() {
    let mut web = group("web", &[8]);
    web.bind_host = "0.0.0.0".to_owned();
    let url = "http://{host}:{port}".to_owned();
    web.wishes.env.insert("URL".parse().unwrap(), url);
    let groups = Groups(vec![web]);
    let values = groups.variables().unwrap().values;
    assert_eq!(values["HOST"], "0.0.0.0");
    assert_eq!(values["WEB_CLIENT_HOST"], "127.0.0.1");
    assert_eq!(values["URL"], "http://127.0.0.1:8");
    assert_eq!(filled(&groups, "{host}").unwrap(), "0.0.0.0");
    let mut others = groups;
    others.0[0].only_referred_to = true;
    assert_eq!(filled(&others, "{web.host}").unwrap(), "127.0.0.1");
}
