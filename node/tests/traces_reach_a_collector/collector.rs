//! A collector: it takes OTLP over HTTP, keeps what it gets, and may stop answering.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// A request that came.
pub struct Export {
    /// Its request line and headers.
    pub head: String,
    /// What it said.
    pub request: ExportTraceServiceRequest,
}

impl Export {
    /// The value of an attribute of the one resource that its spans are of.
    pub fn resource(&self, key: &str) -> String {
        let resource = self.request.resource_spans[0].resource.as_ref().unwrap();
        let attribute = resource.attributes.iter().find(|attribute| attribute.key == key);
        format!("{:?}", attribute.unwrap_or_else(|| panic!("no {key}")).value)
    }

    /// Its spans.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        let scopes = self.request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    }
}

/// A running collector; its threads end with the connections to it.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    /// What has come.
    pub exports: Receiver<Export>,
}

impl Collector {
    /// Starts one that answers each request, or none.
    pub fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, exports) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, sender) = (stream.unwrap(), sender.clone());
                thread::spawn(move || serve(stream, answers, &sender));
            }
        });
        Self { address, exports }
    }
}

fn serve(stream: TcpStream, answers: bool, exports: &Sender<Export>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(export) = read(&mut reader) {
        if exports.send(export).is_err() {
            return;
        }
        if answers {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            writer.write_all(head.as_bytes()).unwrap();
        }
    }
}

/// The next request; `None` when the connection has ended.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Export> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(Export { head, request: ExportTraceServiceRequest::decode(&body[..]).unwrap() })
}
