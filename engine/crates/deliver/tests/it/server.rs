//! An HTTP server on loopback that answers as it is told.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub enum Answer {
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// A status after that time.
    Slow(u16, Duration),
    /// The connection is closed without a word.
    Close,
    /// A status, and a body that does not end.
    Endless(u16),
    /// Something that is not HTTP.
    Noise,
}

pub fn status(status: u16) -> Answer {
    Answer::Status(status, Vec::new(), String::new())
}

#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub path: String,
    headers: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<Received>>,
    /// Bytes of endless bodies that somebody took.
    endless_bytes: Mutex<u64>,
}

/// Answers by the script, then always with 200. Lives until the process ends.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_tls(script, None)
    }

    pub fn with_tls(
        script: impl IntoIterator<Item = Answer>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Shared>::default();
        shared.script.lock().unwrap().extend(script);
        let server = Self { url: format!("{scheme}://localhost:{port}"), shared };
        let shared = Arc::clone(&server.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || {
                    let _ = match tls {
                        None => serve(stream, &shared),
                        Some(tls) => match rustls::ServerConnection::new(tls) {
                            Ok(connection) => serve(rustls::StreamOwned::new(connection, stream), &shared),
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        server
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub fn endless_bytes(&self) -> u64 {
        *self.shared.endless_bytes.lock().unwrap()
    }
}

/// An address where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    format!("http://{}", listener.local_addr().expect("bound"))
}

fn serve(mut stream: impl Read + Write + Socket, shared: &Shared) -> io::Result<()> {
    loop {
        let Some(received) = read_request(&mut stream)? else { return Ok(()) };
        shared.received.lock().unwrap().push(received);
        let answer = shared.script.lock().unwrap().pop_front().unwrap_or_else(|| status(200));
        match answer {
            Answer::Status(status, headers, body) => respond(&mut stream, status, &headers, &body)?,
            Answer::Slow(status, duration) => {
                std::thread::sleep(duration);
                respond(&mut stream, status, &[], "")?;
            }
            Answer::Close => return stream.close(),
            Answer::Endless(status) => {
                write!(stream, "HTTP/1.1 {status} Endless\r\ncontent-length: 1000000000000\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 16 << 10])?;
                    *shared.endless_bytes.lock().unwrap() += 16 << 10;
                }
            }
            Answer::Noise => {
                stream.write_all(b"\x00\x01 this is not HTTP\r\n\r\n")?;
                return stream.close();
            }
        }
    }
}

pub trait Socket {
    fn close(&mut self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn close(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Both)
    }
}

impl Socket for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn close(&mut self) -> io::Result<()> {
        self.sock.close()
    }
}

fn read_request(stream: &mut impl Read) -> io::Result<Option<Received>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (first, headers) = head.split_once("\r\n").unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut received = Received { at: Instant::now(), path, headers: headers.to_owned(), body: Vec::new() };
    let length: u64 = received.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_end(&mut received.body)?;
    received.at = Instant::now();
    Ok(Some(received))
}

fn respond(stream: &mut impl Write, status: u16, headers: &[(&str, String)], body: &str) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // In one piece, or the second would wait for the first to be acknowledged.
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    stream.flush()
}
