//! A coding agent, as far as portbook can tell: rmcp's client with the server of a work tree.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rmcp::model::{CallToolRequestParams, Tool};
use rmcp::service::{RoleClient, RunningService, ServiceError, ServiceExt};
use rmcp::transport::TokioChildProcess;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::support::{Place, command_of};
use crate::tools::Running;

pub struct Agent {
    runtime: Runtime,
    client: RunningService<RoleClient, ()>,
}

impl Agent {
    /// Starts the server of a work tree, with these options.
    pub fn with(place: &Place, tree: &Path, options: &[&str]) -> Self {
        let mut command = place.command();
        command.arg("mcp").args(options).current_dir(tree);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let command = tokio::process::Command::from(command);
            let server = TokioChildProcess::builder(command);
            let (server, _) = server.stderr(Stdio::null()).spawn().unwrap();
            ().serve(server).await.unwrap()
        });
        Self { runtime, client }
    }

    pub fn of(place: &Place, tree: &Path) -> Self {
        Self::with(place, tree, &[])
    }

    pub fn try_call(&self, tool: &str, arguments: &Value) -> Result<Value, ServiceError> {
        let arguments = arguments.as_object().unwrap().clone();
        let asked = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.runtime.block_on(self.client.call_tool(asked))?;
        Ok(serde_json::to_value(result).unwrap())
    }

    /// Calls a tool, and returns its result as it is.
    pub fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.try_call(tool, arguments).unwrap()
    }

    /// Calls a tool that must succeed, and returns the structure of its answer.
    pub fn ok(&self, tool: &str, arguments: &Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool} {arguments}: {result:#}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that must be refused, and returns code and text of its answer.
    pub fn refused(&self, tool: &str, arguments: &Value) -> (String, String) {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result:#}");
        let code = result["structuredContent"]["code"].as_str();
        (code.unwrap_or_default().to_owned(), text(&result))
    }

    pub fn tools(&self) -> Vec<Tool> {
        self.runtime.block_on(self.client.list_all_tools()).unwrap()
    }

    /// Instructions of the server.
    pub fn instructions(&self) -> String {
        let server = self.client.peer_info().unwrap();
        server.instructions.clone().unwrap()
    }
}

/// The text of a tool's answer.
pub fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

/// The ports of an answer of `lease_port`.
pub fn ports(answer: &Value) -> Vec<u16> {
    let leases = answer["leases"].as_array().unwrap();
    leases.iter().map(crate::support::port).collect()
}

/// Makes a git work tree beside the data directory, as far as portbook looks.
pub fn tree(place: &Place, name: &str) -> PathBuf {
    let tree = place.folder().join(name);
    std::fs::create_dir_all(tree.join(".git")).unwrap();
    tree.canonicalize().unwrap()
}

/// Starts a web server of a work tree on a port that its environment tells.
pub fn serve(tree: &Path, port: u16) -> Running {
    let mut server = command_of("python3");
    server
        .args(["-c", SERVER])
        .env("PORT", port.to_string())
        .current_dir(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running::start(server)
}

/// A web server that takes its port from the environment.
pub const SERVER: &str = "import os, http.server as h\n\
    h.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), h.SimpleHTTPRequestHandler).serve_forever()";
