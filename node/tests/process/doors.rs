//! Who comes in: tokens, keys and certificates of a node, and what `aforo node` asks for where `aforo dev` does not.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

/// As for `aforo dev`, on ports that the system chooses.
const NODE: [&str; 9] = ["node", "--http", "0", "--admin", "0", "--udp", "127.0.0.1:0", "--shards", "1"];

#[test]
fn a_node_that_nobody_could_get_into_does_not_start_and_says_what_to_do() {
    for arguments in [&NODE[..], &["config", "check", "--for", "node"]] {
        let (code, said) = run(arguments);
        assert_eq!(code, 78, "{said}");
        for expected in ["auth.required", "(default of aforo node)", "aforo token keygen", "auth.jwks_url"] {
            assert!(said.contains(expected), "{expected} is missing in {said}");
        }
    }
    assert_eq!(run(&["config", "check"]).0, 0, "`aforo dev` needs nothing");
    let shown = run(&["config", "show", "--origin", "--for", "node"]);
    assert_eq!(shown.0, 78, "{}", shown.1);
}

#[test]
fn what_lets_anybody_in_lets_a_node_start_and_both_sides_want_a_token() {
    let tokens = [("AFORO__AUTH__PUBLISH_TOKENS", "north-0123456789")];
    let mut command = aforo(&NODE);
    command.envs(tokens);
    let node = Node::spawn(command);
    assert!(!node.banner.contains("without a token"), "{}", node.banner);
    let ask = |headers: &str| offer(&mut TcpStream::connect(&node.http).unwrap(), &node.http, headers);
    assert!(ask("").starts_with("HTTP/1.1 401"));
    assert!(ask("authorization: Bearer north-0123456789\r\n").starts_with("HTTP/1.1 201"));
    let watch = "POST /whep/demo HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(&node.http).unwrap();
    stream.write_all(watch.as_bytes()).unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "no list of players means nobody, not everybody: {answer}");
    for path in ["/v1/rooms", "/v1/rooms/demo"] {
        assert!(get(&node.http, path).0.contains("401"), "{path}");
    }
    node.stop();
}

#[test]
fn whoever_says_that_no_token_is_required_has_a_node_that_is_open_and_warns() {
    let mut command = aforo(&["node", "--http", "0.0.0.0:0", "--admin", "0", "--udp", "127.0.0.1:0"]);
    command.env("AFORO__AUTH__REQUIRED", "false");
    let node = Node::spawn(command);
    assert!(get(&node.http, "/v1/rooms").0.contains("200"));
    assert!(node.banner.contains("may publish and watch without a token"), "{}", node.banner);
    let log = node.stop();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("\"WARN\"")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("publish and watch"), "{log}");
}

#[test]
fn only_strangers_are_warned_of() {
    let arguments = ["dev", "--http", "0.0.0.0:0", "--admin", "0", "--udp", "127.0.0.1:0", "--shards", "1"];
    let open = Node::spawn(aforo(&arguments));
    assert!(open.banner.contains("may publish and watch without a token"), "{}", open.banner);
    assert!(open.stop().contains("strangers need no token here"));
    let own = Node::start();
    assert!(!own.banner.contains("without a token"), "{}", own.banner);
    assert!(!own.stop().contains("WARN"), "nobody else reaches a loopback address");
}

#[test]
fn a_token_of_the_command_line_is_let_in_by_a_server_that_has_the_key() {
    let folder = std::env::temp_dir().join(format!("aforo-token-test-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (private, public, secret) = (path("private.json"), path("public.json"), path("secret.json"));
    let (code, printed) = run(&["token", "keygen", "--key", &private, "--kid", "first"]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("\"x\"") && !printed.contains("\"d\""), "only the public half is printed");
    std::fs::write(&public, &printed).unwrap();
    assert_eq!(run(&["token", "keygen", "--algorithm", "hs256", "--key", &secret]).0, 0);
    for key in [&private, &secret] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        let (code, said) = run(&["token", "keygen", "--key", key]);
        assert_eq!(code, 1, "a key is never overwritten: {said}");
    }
    let node = Node::start_with(&[("AFORO__AUTH__KEY_FILES", &format!("{public},{secret}"))]);
    assert!(get(&node.http, "/v1/rooms/demo").0.contains("401"));
    for key in [&private, &secret] {
        let create = ["token", "create", "--room", "demo", "--ttl", "1h", "--key", key, "--admin"];
        let Output { status, stdout, stderr } = aforo(&create).output().unwrap();
        assert!(status.success() && stderr.is_empty());
        let bearer = format!("authorization: Bearer {}\r\n", String::from_utf8(stdout).unwrap().trim());
        assert!(get_with(&node.http, "/v1/rooms", &bearer).0.contains("200"));
        assert!(
            get_with(&node.http, "/v1/rooms/demo", &bearer).1.contains("\"live\":false"),
            "let in, and nothing is live"
        );
        assert!(get_with(&node.http, "/v1/rooms/other", &bearer).0.contains("403"));
    }
    let (second, third) = (path("second.json"), path("third.json"));
    let add = |key: &str| run(&["token", "keygen", "--key", key, "--add-to", &public]);
    assert_eq!((add(&second).0, add(&third).0), (0, 0));
    let held = std::fs::read_to_string(&public).unwrap();
    assert_eq!((held.matches("\"x\"").count(), held.matches("\"d\"").count()), (3, 0), "{held}");
    for key in [&private, &second, &third] {
        let create = ["token", "create", "--room", "demo", "--ttl", "1h", "--key", key, "--subscribe"];
        let token = String::from_utf8(aforo(&create).output().unwrap().stdout).unwrap();
        let bearer = format!("authorization: Bearer {}\r\n", token.trim());
        let start = Instant::now();
        while !get_with(&node.http, "/v1/rooms", &bearer).0.contains("200") {
            assert!(start.elapsed() < PATIENCE, "{key} was added and lets nobody in");
        }
    }
    let careless = Node::start_with(&[("AFORO__AUTH__KEY_FILES", &private)]).stop();
    assert!(
        careless.contains("public half of this key only") && careless.contains("private.json"),
        "{careless}"
    );
    std::fs::write(path("broken.json"), "{").unwrap();
    let (code, said) =
        run(&["token", "keygen", "--key", &path("lost.json"), "--add-to", &path("broken.json")]);
    assert!(code == 78 && !std::path::Path::new(&path("lost.json")).exists(), "{said}");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
    let alone = path("alone.json");
    std::fs::write(&alone, &printed).unwrap();
    let create = |more: &[&str]| run(&[&["token", "create", "--key", &alone, "--ttl", "1h"], more].concat());
    for (more, expected, part) in [
        (&["--room", "demo"][..], 2, "--publish"),
        (&["--room", "de/mo", "--publish"], 2, "A-Z"),
        (&["--publish"], 2, "--room"),
        (&["--room", "demo", "--publish"], 78, "public half"),
        (&["--room", "demo", "--publish", "--kid", "x"], 78, "kid"),
    ] {
        let (code, said) = create(more);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    std::fs::write(&secret, "not a key").unwrap();
    let broken = aforo(&["dev", "--http", "0", "--admin", "0", "--udp", "127.0.0.1:0"])
        .env("AFORO__AUTH__KEY_FILES", &secret)
        .output()
        .unwrap();
    let said = String::from_utf8(broken.stderr).unwrap();
    assert_eq!(broken.status.code(), Some(78), "{said}");
    assert!(said.contains("secret.json") && said.contains("aforo token keygen"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_public_half_is_written_beside_its_key_and_never_over_another() {
    let folder = std::env::temp_dir().join(format!("aforo-public-half-test-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (private, public) = (path("private.json"), path("public.json"));
    let make = |key: &str, half: &str, more: &[&str]| {
        run(&[&["token", "keygen", "--key", key, "--public", half], more].concat())
    };
    let (code, printed) = make(&private, &public, &[]);
    assert_eq!((code, std::fs::read_to_string(&public).unwrap()), (0, printed.clone()));
    assert!(printed.contains("\"x\"") && !printed.contains("\"d\""), "{printed}");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    for (key, half, more) in [
        (path("other.json"), public.clone(), &[][..]),
        (private, path("other.json"), &[]),
        (path("secret.json"), path("other.json"), &["--algorithm", "hs256"]),
    ] {
        let (code, said) = make(&key, &half, more);
        assert_ne!(code, 0, "{said}");
        assert_eq!((files(), std::fs::read_to_string(&public).unwrap()), (2, printed.clone()), "{said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A certificate of 127.0.0.1 in files of its own, and a client that knows it.
struct Certificate {
    folder: std::path::PathBuf,
    certificate: String,
    key: String,
    client: Arc<ClientConfig>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("aforo-{name}-test-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(pair.cert.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { folder, certificate, key, client: Arc::new(client) }
    }

    /// What makes a node use it.
    fn variables(&self) -> [(&'static str, &str); 2] {
        [("AFORO__HTTP__TLS_CERTIFICATE", &self.certificate), ("AFORO__HTTP__TLS_KEY", &self.key)]
    }

    /// HTTPS over a new connection.
    fn connect(&self, node: &Node) -> StreamOwned<ClientConnection, TcpStream> {
        let connection = ClientConnection::new(Arc::clone(&self.client), "127.0.0.1".try_into().unwrap());
        let stream = TcpStream::connect(&node.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(connection.unwrap(), stream)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The first bytes of the answer to a GET.
fn looks(mut stream: impl Read + Write) -> std::io::Result<String> {
    write!(stream, "GET /v1/rooms HTTP/1.1\r\nhost: a\r\n\r\n")?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn connections_without_a_word_of_tls_count_for_their_address_from_the_first_moment() {
    let certificate = Certificate::new("silent-tls");
    let limits =
        [("AFORO__LIMITS__CONNECTIONS_PER_ADDRESS", "3"), ("AFORO__LIMITS__LOOPBACK_EXEMPT", "false")];
    let node = Node::start_with(&[certificate.variables(), limits].concat());
    let held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(&node.http).unwrap()).collect();
    node.metrics_with("aforo_http_connections 2");
    let mut third = certificate.connect(&node);
    assert_eq!(looks(&mut third).unwrap(), "HTTP/1.1 200");
    node.metrics_with("aforo_http_connections 3");
    for _ in 0..5 {
        assert!(looks(certificate.connect(&node)).is_err(), "one too many is closed at once");
    }
    node.metrics_with("aforo_http_connections_total{result=\"refused\"} 5");
    drop((held, third));
    node.metrics_with("aforo_http_connections 0");
    node.metrics_with("aforo_http_connections_total{result=\"unserved\"} 2");
    assert_eq!(looks(certificate.connect(&node)).unwrap(), "HTTP/1.1 200", "whoever leaves makes room");
    node.stop();
}

#[test]
fn handshakes_that_do_not_go_on_are_in_nobodys_way() {
    let certificate = Certificate::new("many-silent-tls");
    let workers = ("AFORO__HTTP__WORKERS", "1");
    let node = Node::start_with(&[&certificate.variables()[..], &[workers]].concat());
    // More than the library lets one worker have.
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&node.http).unwrap()).collect();
    assert_eq!(looks(certificate.connect(&node)).unwrap(), "HTTP/1.1 200");
    silent[0].set_nonblocking(true).unwrap();
    let open = silent[0].peek(&mut [0; 1]).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "which did not have to wait for their end");
    node.stop();
}

#[test]
fn a_node_with_a_certificate_speaks_https_and_says_so_in_session_addresses() {
    let certificate = Certificate::new("https");
    let output = aforo(&["config", "check"]).envs([certificate.variables()[0]]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8(output.stderr).unwrap().contains("http.tls_key"));
    let node = Node::start_with(&certificate.variables());
    let mut stream = certificate.connect(&node);
    let answer = offer(&mut stream, &node.http, "");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains(&format!("location: https://{}/whip/demo/main/", node.http)), "{answer}");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}
