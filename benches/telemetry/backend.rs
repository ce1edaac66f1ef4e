//! Collectors that work, and that do not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;

/// Target of the spans.
pub struct Backend {
    /// Its base URL.
    pub url: String,
    /// Whether spans are lost there.
    pub is_broken: bool,
    /// Kept so that connections are taken up and never answered.
    _silent: Option<TcpListener>,
}

impl Backend {
    /// No process listens.
    pub fn down() -> Result<Self> {
        let (listener, url) = listen()?;
        drop(listener);
        Ok(Self {
            url,
            is_broken: true,
            _silent: None,
        })
    }

    /// Takes up connections and says nothing.
    pub fn hanging() -> Result<Self> {
        let (listener, url) = listen()?;
        Ok(Self {
            url,
            is_broken: true,
            _silent: Some(listener),
        })
    }

    /// Answers everything with this status.
    pub fn answering(status: u16) -> Result<Self> {
        let (listener, url) = listen()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream, status));
            }
        });
        Ok(Self {
            url,
            is_broken: status != 200,
            _silent: None,
        })
    }
}

fn listen() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Answers one request after another until the other end hangs up.
fn answer(stream: TcpStream, status: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line)? > 2 {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        reader.read_exact(&mut vec![0; length])?;
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        reader.get_mut().write_all(head.as_bytes())?;
    }
}
