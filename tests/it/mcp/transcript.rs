//! The transcript of calls, with a mask over all that differs from run to run.

use serde_json::{Value, json};

use super::agent::{Agent, text};
use crate::recording::mask::Mask;

pub struct Transcript {
    mask: Mask,
    ports: Vec<u16>,
    calls: Vec<Value>,
}

impl Transcript {
    /// A transcript in which the folder and these ports have names.
    pub fn new(folder: &std::path::Path, ports: &[u16]) -> Self {
        let mut mask = Mask::new(folder);
        for (index, port) in ports.iter().enumerate() {
            mask.also(&port.to_string(), &format!("<port {index}>"));
        }
        Self {
            mask,
            ports: ports.to_vec(),
            calls: Vec::new(),
        }
    }

    /// Calls a tool, notes question and answer, and returns the answer.
    pub fn call(&mut self, who: &str, agent: &Agent, tool: &str, arguments: &Value) -> Value {
        let result = agent.call(tool, arguments);
        let lines: Vec<String> = text(&result).lines().map(str::to_owned).collect();
        let call = json!({
            "agent": who,
            "tool": tool,
            "arguments": self.masked(arguments.clone()),
            "is_error": result["isError"],
            "text": self.masked(json!(lines)),
            "structure": self.masked(result["structuredContent"].clone()),
        });
        self.calls.push(call);
        result
    }

    pub fn into_value(self) -> Value {
        Value::Array(self.calls)
    }

    fn masked(&mut self, value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| {
                    let value = match (&*name, value) {
                        ("pid" | "uid" | "user" | "executable" | "unit" | "container", _) => {
                            "<varies>".into()
                        }
                        (_, value) => self.masked(value),
                    };
                    (name, value)
                });
                members.collect()
            }
            Value::Array(values) => {
                let values = values.into_iter().filter(|value| !lingers(value));
                values.map(|it| self.masked(it)).collect()
            }
            Value::String(text) => self.words(&text).into(),
            Value::Number(number) => self.number(&number),
            other => other,
        }
    }

    fn number(&self, number: &serde_json::Number) -> Value {
        let known = self
            .ports
            .iter()
            .position(|port| number.as_u64() == Some((*port).into()));
        known.map_or_else(
            || number.clone().into(),
            |index| format!("<port {index}>").into(),
        )
    }

    fn words(&mut self, text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_process =
            matches!(words[..], ["|", "program", program, ..] if program.starts_with('/'));
        let masked = words.iter().enumerate().map(|(index, word)| {
            let before = index.checked_sub(1).map_or("", |index| words[index]);
            let after = words.get(index + 1).copied().unwrap_or_default();
            let of_process = is_process && matches!(before, "program" | "user");
            if of_process || before == "cost" || before == "uid" || after.starts_with("check") {
                "<varies>".to_owned()
            } else {
                masked_word(word)
            }
        });
        let masked: Vec<String> = masked.collect();
        self.mask.text(&masked.join(" "))
    }
}

/// Whether a value tells of a closing connection, which the kernel forgets after a minute.
fn lingers(value: &Value) -> bool {
    let told = value.as_str().unwrap_or_default();
    value["state"] == "lingering" || told.contains("closing connection lingers")
}

/// Masks process ids behind a program, ages and times of day.
fn masked_word(word: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let core = word.trim_matches(|c: char| "(),:".contains(c));
    let is_age = core.strip_suffix(['s', 'm', 'h']).is_some_and(is_number);
    let mut parts = core.split(':');
    let is_time = core.contains(':') && parts.all(|part| part.len() == 2 && is_number(part));
    match word.split_once('/') {
        _ if is_age || is_time => word.replace(core, "<varies>"),
        Some((program, pid)) if program.starts_with("python3") && is_number(pid) => {
            "python3/<varies>".to_owned()
        }
        _ if word.starts_with("python3.") => "python3".to_owned(),
        _ => word.to_owned(),
    }
}
