//! Our DTLS against OpenSSL over loopback, in both roles, with ECDSA and RSA certificates of the peer: another
//! implementation must come to the same SRTP profile and the same keys. Needs the `openssl` command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aforo_node::media::keys::{SrtpKeys, SrtpProfile};
use aforo_node::media::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm};
use aforo_node::peer::dtls::{Dtls, DtlsEvent, DtlsIdentity};
use aws_lc_rs::digest;

/// Handshakes on loopback take milliseconds; this is for a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(30);

/// OpenSSL's certificate and key in files, and what its offer would announce.
struct Credentials {
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: Fingerprint,
}

fn credentials(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Credentials {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["peer".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let paths = [folder.join(format!("{name}.crt")), folder.join(format!("{name}.key"))];
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], pair.serialize_pem()).unwrap();
    let [certificate_path, key] = paths;
    let digest = digest::digest(&digest::SHA256, certificate.der()).as_ref().to_vec();
    let fingerprint = Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest };
    Credentials { certificate: certificate_path, key, fingerprint }
}

/// `openssl COMMAND …`, with its standard input open for as long as the child is held.
fn openssl(command: &str, address: [&str; 2], credentials: &Credentials, profiles: &str) -> Child {
    Command::new("openssl")
        .args([command, "-dtls1_2", address[0], address[1], "-use_srtp", profiles, "-cert"])
        .arg(&credentials.certificate)
        .arg("-key")
        .arg(&credentials.key)
        .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "56"])
        .args(if command == "s_server" {
            ["-Verify", "1", "-naccept", "1"].as_slice()
        } else {
            &["-mtu", "300"]
        })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl command is installed")
}

/// Runs our end until it is connected, then says goodbye. `peer` is known to a client; a server learns it.
fn connect(socket: &UdpSocket, mut dtls: Dtls, mut peer: Option<SocketAddr>) -> SrtpKeys {
    let started = Instant::now();
    dtls.start(started).unwrap();
    send(socket, &mut dtls, peer);
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut buffer = [0; 2_048];
    loop {
        let now = Instant::now();
        assert!(now - started < PATIENCE, "the handshake did not end");
        dtls.handle_timeout(now);
        let event = match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                peer = Some(from);
                dtls.handle(now, &buffer[..length]).unwrap()
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        };
        send(socket, &mut dtls, peer);
        match event {
            Some(DtlsEvent::Connected(keys)) => {
                dtls.close(now);
                send(socket, &mut dtls, peer);
                return keys;
            }
            Some(DtlsEvent::Closed) => panic!("closed before it was connected"),
            None => {}
        }
    }
}

fn send(socket: &UdpSocket, dtls: &mut Dtls, peer: Option<SocketAddr>) {
    while let Some(datagram) = dtls.poll_transmit() {
        socket.send_to(&datagram, peer.unwrap()).unwrap();
    }
}

/// Ends the child and asserts that it exported what we did.
fn assert_same_keys(child: Child, role: DtlsRole, keys: &SrtpKeys) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let exported = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Keying material: "))
        .unwrap_or_else(|| panic!("no keys: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let (client, server) = match role {
        DtlsRole::Client => (&keys.local, &keys.remote),
        DtlsRole::Server => (&keys.remote, &keys.local),
    };
    let ours = [&client.key[..], &server.key, &client.salt, &server.salt].concat();
    let ours: String = ours.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(exported, ours);
    assert_eq!(keys.profile, SrtpProfile::AeadAes128Gcm);
}

fn as_server(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) {
    let credentials = credentials(name, algorithm);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let identity = DtlsIdentity::generate().unwrap();
    let dtls = Dtls::new(DtlsRole::Server, identity, vec![credentials.fingerprint.clone()]);
    // Its first choice is not ours, and ours must win.
    let profiles = "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM";
    let child = openssl("s_client", ["-connect", &address], &credentials, profiles);
    let keys = connect(&socket, dtls, None);
    assert_same_keys(child, DtlsRole::Server, &keys);
}

fn as_client(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) {
    let credentials = credentials(name, algorithm);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let profiles = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
    let child = openssl("s_server", ["-accept", &server.to_string()], &credentials, profiles);
    let identity = DtlsIdentity::generate().unwrap();
    let dtls = Dtls::new(DtlsRole::Client, identity, vec![credentials.fingerprint.clone()]);
    let keys = connect(&socket, dtls, Some(server));
    assert_same_keys(child, DtlsRole::Client, &keys);
}

#[test]
fn openssl_with_an_ecdsa_certificate_connects_to_us() {
    as_server("server-ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256);
}

#[test]
fn openssl_with_an_rsa_certificate_connects_to_us() {
    as_server("server-rsa", &rcgen::PKCS_RSA_SHA256);
}

#[test]
fn we_connect_to_openssl_with_an_ecdsa_certificate() {
    as_client("client-ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256);
}

#[test]
fn we_connect_to_openssl_with_an_rsa_certificate() {
    as_client("client-rsa", &rcgen::PKCS_RSA_SHA256);
}
