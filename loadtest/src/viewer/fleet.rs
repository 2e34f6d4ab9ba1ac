//! The thread that owns all viewers of a process and the sockets that they share.
//!
//! It looks at the sockets twice a millisecond instead of sleeping in `poll`: a server's sends then wake nobody, which
//! would be paid for by the server, and each look finds a batch. Latencies stay exact, for the kernel notes arrivals.

mod state;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::core::ViewerSpec;
use super::dtls::Identity;
use super::sdp::IceCredentials;
use super::totals::Totals;
use crate::socket::{ReceiveBuffers, WildcardSocket};
use state::FleetState;

/// Time between two looks at the sockets.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// The same where every viewer has a socket of its own and a look costs a system call each.
const LOOK_INTERVAL_OWN_SOCKETS: Duration = Duration::from_millis(4);

/// First address of the viewers, 127.16.0.0: far from the ones that other programs use.
const FIRST_ADDRESS: u32 = 0x7f10_0000;

/// How viewers are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// One socket, an address of 127.0.0.0/8 per viewer: for servers on this machine.
    Loopback,
    /// One socket per viewer: for servers elsewhere.
    OwnSockets,
}

/// A place for one viewer, taken before its offer is written.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Number of the viewer.
    pub index: usize,
    /// Its address as the server will see it (behind no NAT).
    pub address: SocketAddrV4,
    /// Its ICE credentials.
    pub ice: IceCredentials,
}

enum Command {
    Add(usize, Box<ViewerSpec>),
    Snapshot(usize, oneshot::Sender<Totals>),
    BeginWindow(oneshot::Sender<Totals>),
    EndWindow(oneshot::Sender<Totals>),
    Stop,
}

/// The fleet, as the rest of the program sees it.
#[derive(Debug)]
pub struct Fleet {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
    seats: AtomicUsize,
    addressing: Addressing,
    ports: Vec<u16>,
    local_ip: Ipv4Addr,
    fingerprint: [u8; 32],
    receive_buffer_bytes: usize,
}

impl Fleet {
    /// Opens the sockets for `viewers` viewers and starts the thread; each viewer loses a share `loss` of what arrives.
    ///
    /// # Errors
    ///
    /// Sockets, certificate or thread cannot be made.
    pub fn start(addressing: Addressing, local_ip: Ipv4Addr, viewers: usize, loss: f64) -> Result<Arc<Self>> {
        let count = if addressing == Addressing::Loopback { 1 } else { viewers.max(1) };
        let sockets = (0..count)
            .map(|_| WildcardSocket::bind(0))
            .collect::<std::io::Result<Vec<_>>>()
            .context("cannot open the viewers' sockets (see ulimit -n)")?;
        let ports = sockets.iter().map(WildcardSocket::port).collect::<std::io::Result<Vec<_>>>()?;
        let receive_buffer_bytes = sockets.first().map_or(0, WildcardSocket::receive_buffer_bytes);
        let identity = Identity::generate()?;
        let fingerprint = identity.fingerprint();
        let state = FleetState::new(addressing, identity, sockets.len(), loss)?;
        let (commands, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("viewers".to_owned())
            .spawn(move || run(&sockets, state, &inbox, addressing))?;
        Ok(Arc::new(Self {
            commands,
            thread: Some(thread),
            seats: AtomicUsize::new(0),
            addressing,
            ports,
            local_ip,
            fingerprint,
            receive_buffer_bytes,
        }))
    }

    /// Takes the next place.
    pub fn reserve(&self) -> Seat {
        let index = self.seats.fetch_add(1, Ordering::Relaxed);
        let address = match self.addressing {
            Addressing::Loopback => SocketAddrV4::new(
                Ipv4Addr::from(FIRST_ADDRESS + index as u32),
                self.ports.first().copied().unwrap_or(0),
            ),
            Addressing::OwnSockets => {
                SocketAddrV4::new(self.local_ip, self.ports.get(index).copied().unwrap_or(0))
            }
        };
        let ice = IceCredentials {
            ufrag: format!("{:08x}", rand::random::<u32>()),
            password: format!("{:032x}", rand::random::<u128>()),
        };
        Seat { index, address, ice }
    }

    /// SHA-256 of the viewers' certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Kernel memory of the viewers' socket: too little of it looks like loss.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Lets the viewer of a seat begin.
    pub fn add(&self, seat: usize, spec: ViewerSpec) {
        let _ = self.commands.send(Command::Add(seat, Box::new(spec)));
    }

    /// All counts as of now.
    ///
    /// # Errors
    ///
    /// The thread is gone.
    pub async fn snapshot(&self) -> Result<Totals> {
        self.snapshot_of_first(usize::MAX).await
    }

    /// All counts as of now; what viewers count each for themselves is of the first `viewers`: sequences, and how many
    /// play.
    ///
    /// # Errors
    ///
    /// The thread is gone.
    pub async fn snapshot_of_first(&self, viewers: usize) -> Result<Totals> {
        self.ask(|answer| Command::Snapshot(viewers, answer)).await
    }

    /// Begins the measured window: latencies are noted anew, and what publishers send from here on is due. Returns all
    /// counts as of now.
    ///
    /// # Errors
    ///
    /// The thread is gone.
    pub async fn begin_window(&self) -> Result<Totals> {
        self.ask(Command::BeginWindow).await
    }

    /// Ends the measured window: what was sent until here must come. Returns all counts as of now; what of it did not
    /// come is in a snapshot taken when repairs are through.
    ///
    /// # Errors
    ///
    /// The thread is gone.
    pub async fn end_window(&self) -> Result<Totals> {
        self.ask(Command::EndWindow).await
    }

    async fn ask(&self, question: impl FnOnce(oneshot::Sender<Totals>) -> Command) -> Result<Totals> {
        let (sender, answer) = oneshot::channel();
        let _ = self.commands.send(question(sender));
        answer.await.context("the viewers' thread is gone")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    sockets: &[WildcardSocket],
    mut state: FleetState,
    inbox: &mpsc::Receiver<Command>,
    addressing: Addressing,
) {
    let interval = match addressing {
        Addressing::Loopback => LOOK_INTERVAL,
        Addressing::OwnSockets => LOOK_INTERVAL_OWN_SOCKETS,
    };
    let mut buffers = ReceiveBuffers::default();
    loop {
        let started = Instant::now();
        loop {
            match inbox.try_recv() {
                Ok(Command::Add(index, spec)) => state.add(started, index, *spec),
                Ok(Command::Snapshot(viewers, answer)) => {
                    let _ = answer.send(state.snapshot(viewers));
                }
                Ok(Command::BeginWindow(answer)) => {
                    state.begin_window();
                    let _ = answer.send(state.snapshot(usize::MAX));
                }
                Ok(Command::EndWindow(answer)) => {
                    state.end_window(started);
                    let _ = answer.send(state.snapshot(usize::MAX));
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) => break,
            }
        }
        for (index, socket) in sockets.iter().enumerate() {
            // A look reads all that is there, but not for ever: timers must run too.
            for _ in 0..64 {
                let now = Instant::now();
                match socket.receive(&mut buffers, |received| state.receive(now, index, received)) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
        state.run_timers(Instant::now());
        state.flush(sockets);
        if let Some(rest) = interval.checked_sub(started.elapsed()) {
            std::thread::sleep(rest);
        }
    }
}
