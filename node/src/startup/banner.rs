//! What a node prints when it is ready: where everything is, and a line to paste for each way to publish.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where everything is.
pub(super) struct Addresses {
    /// Scheme and authority of pages, WHIP, WHEP and API.
    pub base: String,
    /// Scheme and authority of metrics and probes.
    pub operators: String,
    /// UDP ports, one per shard.
    pub udp: Vec<u16>,
    /// The port of ICE-TCP, if it is offered.
    pub tcp: Option<u16>,
    /// Addresses that clients send media to.
    pub advertise: Vec<IpAddr>,
    /// Whether publishers need a token.
    pub guarded: bool,
    /// Whether players do, and whoever asks for the list of rooms.
    pub private: bool,
    /// What strangers may do without a token, if they can reach the node at all.
    pub unguarded: Option<&'static str>,
}

/// A base that a browser on this machine can open.
pub(super) fn base_of(scheme: &str, listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        ip if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

/// The whole text.
pub(super) fn text(addresses: &Addresses) -> String {
    let Addresses { base, operators, .. } = addresses;
    let (obs_token, ffmpeg_token) = match addresses.guarded {
        true => ("a publish token as bearer token", "-authorization TOKEN "),
        false => ("no bearer token", ""),
    };
    let api_token = if addresses.private { "-H 'Authorization: Bearer TOKEN' " } else { "" };
    let ports: Vec<String> = addresses.udp.iter().map(u16::to_string).collect();
    let tcp = addresses.tcp.map(|port| format!(", TCP {port}")).unwrap_or_default();
    let open = addresses.unguarded.map(|what| {
        format!("    Open      whoever reaches it may {what} without a token; `aforo node` asks for one\n")
    });
    let advertise: Vec<String> = addresses.advertise.iter().map(IpAddr::to_string).collect();
    format!(
        "\n  Aforo {version} is ready\n\n    \
         Home      {base}/\n    \
         Studio    {base}/studio/demo\n    \
         Watch     {base}/watch/demo\n    \
         API       {base}/v1/rooms\n    \
         Metrics   {operators}/metrics\n    \
         Media     UDP {ports}{tcp} at {advertise}\n{open}\n  \
         Publish with\n\n    \
         OBS       Settings > Stream > Service WHIP, Server {base}/whip/demo, {obs_token}\n    \
         ffmpeg    (version 8 or newer, which has the WHIP muxer)\n              \
         ffmpeg -re -i input.mp4 -c:v libx264 -profile:v baseline -pix_fmt yuv420p -bf 0 -g 60 -c:a libopus -ar 48000 -ac 2 -f whip {ffmpeg_token}{base}/whip/demo\n\n  \
         Look with\n\n    \
         curl      curl {api_token}{base}/v1/rooms\n              \
         curl -i -X OPTIONS {base}/whip/demo\n\n  \
         Stop with Ctrl-C.\n\n",
        version = env!("CARGO_PKG_VERSION"),
        ports = ports.join(", "),
        advertise = advertise.join(", "),
        open = open.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn every_address_and_every_way_to_publish_is_there() {
        let text = text(&Addresses {
            base: base_of("http", "0.0.0.0:8080".parse().unwrap()),
            operators: base_of("http", "[::1]:8081".parse().unwrap()),
            udp: vec![7800, 7801],
            tcp: Some(7800),
            advertise: vec![Ipv4Addr::LOCALHOST.into()],
            guarded: false,
            private: false,
            unguarded: Some("publish and watch"),
        });
        for expected in [
            "http://127.0.0.1:8080/studio/demo",
            "http://127.0.0.1:8080/watch/demo",
            "http://[::1]:8081/metrics",
            "UDP 7800, 7801, TCP 7800 at 127.0.0.1",
            "OBS",
            "-f whip http://127.0.0.1:8080/whip/demo",
            "version 8 or newer",
            "-pix_fmt yuv420p",
            "no bearer token",
            "Open      whoever reaches it may publish and watch without a token",
            "curl http://127.0.0.1:8080/v1/rooms\n",
            "curl -i -X OPTIONS http://127.0.0.1:8080/whip/demo\n",
        ] {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
    }

    #[test]
    fn lines_for_a_guarded_node_have_a_place_for_the_token() {
        let text = text(&Addresses {
            base: "http://h".to_owned(),
            operators: "http://h:1".to_owned(),
            udp: vec![7800],
            tcp: None,
            advertise: Vec::new(),
            guarded: true,
            private: true,
            unguarded: None,
        });
        assert!(!text.contains("without a token"), "{text}");
        assert!(text.contains("a publish token as bearer token"), "{text}");
        assert!(text.contains("-f whip -authorization TOKEN http://h/whip/demo"), "{text}");
        assert!(text.contains("curl -H 'Authorization: Bearer TOKEN' http://h/v1/rooms\n"), "{text}");
    }
}
