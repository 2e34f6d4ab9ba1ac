//! A session on the wire, over ICE-TCP: there an end can be seen, and nobody has to wait for what does not come.

use std::net::SocketAddr;

use aforo_loadtest::viewer::ice;
use aforo_loadtest::viewer::sdp::IceCredentials;
use anyhow::{Context, Result, ensure};
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Reply;
use crate::offers;

/// First bytes of a Binding success response.
const SUCCESS: [u8; 2] = [0x01, 0x01];

/// A connection that has proved to be a session's own.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects as the client of `offer`, which was answered with `created`, and lets the server check that.
    pub async fn connect(offer: &str, created: &Reply) -> Result<Self> {
        let mut stream = TcpStream::connect(passive_candidate(&created.body)?).await?;
        let [theirs, ours] = [offer, &created.body].map(|sdp| {
            let (ufrag, password) = offers::credentials(sdp);
            IceCredentials { ufrag: ufrag.to_owned(), password: password.to_owned() }
        });
        let check = ice::check(&theirs, &ours, *b"transaction1", &AwsLcRsProvider::new())?;
        // RFC 4571 §2: each frame has its length before it.
        stream.write_all(&[&u16::try_from(check.len())?.to_be_bytes()[..], &check].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        ensure!(answer.starts_with(&SUCCESS), "a good check got {answer:?}");
        Ok(Self(stream))
    }

    /// Waits until the server has ended it. The suite's own deadline ends this otherwise.
    pub async fn ended(mut self) {
        let mut rest = [0; 2_048];
        // A reset is an end too.
        while self.0.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// Where the answer takes ICE-TCP on this host.
fn passive_candidate(answer: &str) -> Result<SocketAddr> {
    let mut candidates = answer.lines().filter(|line| line.ends_with("tcptype passive"));
    let found = candidates.find_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let address = fields.next().filter(|address| *address == "127.0.0.1")?;
        format!("{address}:{}", fields.next()?).parse().ok()
    });
    found.context("the answer has no passive TCP candidate on loopback")
}
