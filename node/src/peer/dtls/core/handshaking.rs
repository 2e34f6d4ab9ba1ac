//! While the handshake lasts: what each record of the peer leads to.
//!
//! Whoever knows the path can send records in plain text. So nothing that has no proof ends a handshake of our own once it
//! has begun: it is dropped, and the real one is awaited, a bounded number of times.

use std::time::Instant;

use super::{Dtls, DtlsEvent, Engine, Handshake, Phase};
use crate::media::negotiated::DtlsRole;
use crate::peer::dtls::alert;
use crate::peer::dtls::association::Association;
use crate::peer::dtls::candidates::{Answer, Candidates};
use crate::peer::dtls::error::DtlsError;
use crate::peer::dtls::hello::ClientHello;
use crate::peer::dtls::inbound::{Inbound, Input};
use crate::peer::dtls::library::LibraryHandshake;
use crate::peer::dtls::record::{ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE, Records};
use crate::peer::dtls::server::Failure;

impl Dtls {
    /// Takes a datagram of a peer that is not connected yet.
    pub(super) fn continue_handshake(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let mut repeated = false;
        for record in Records::of(datagram) {
            match (record.epoch, record.kind) {
                (0, HANDSHAKE) => repeated |= handshake.inbound.take(&record),
                // Whoever knows the path could have sent it. A client that gave up lets the join time out.
                (0, ALERT) => {
                    self.ignored += 1;
                    self.alert = alert::ending(&record).or(self.alert);
                }
                (0, CHANGE_CIPHER_SPEC) | (1, HANDSHAKE) => handshake.inbound.keep_early(&record),
                _ => {}
            }
        }
        let mut event = None;
        while event.is_none() {
            let Phase::Handshaking(handshake) = &mut self.phase else { break };
            let Some(input) = handshake.inbound.next_input() else { break };
            repeated = false;
            event = self.feed(now, input)?;
        }
        repeated |= self.answer_other_hello(now)?;
        if repeated {
            self.repeat_if_due(now);
        }
        Ok(event)
    }

    /// As server: whoever said the first hello, each gets an answer until a client has proved itself. Returns whether
    /// that is one which was sent before.
    fn answer_other_hello(&mut self, now: Instant) -> Result<bool, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(false) };
        let Some(Engine::Ours(ours)) = &mut handshake.engine else { return Ok(false) };
        let Some(hello) = handshake.inbound.other_hello() else { return Ok(false) };
        let answer = ours.answer(&self.identity, &hello);
        match self.or_alert(answer)? {
            Answer::New(flight) => self.send_flight(now, vec![flight]),
            Answer::Known(flight) => {
                self.last_flight.exchange(vec![flight]);
                return Ok(true);
            }
            Answer::None => self.ignored += 1,
        }
        Ok(false)
    }

    /// Goes on with a flight of the peer, or with the records that end the handshake.
    fn feed(&mut self, now: Instant, input: Input) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, announced, inbound } = handshake.as_mut();
        match engine {
            // A client's association exists since `start`, so this is a server's first flight.
            None => self.begin(now),
            Some(Engine::Ours(ours)) => match input {
                Input::Flight | Input::Excess => {
                    let taken = ours.take_proof(inbound.messages(), announced);
                    if self.or_alert(taken)? {
                        self.proved();
                    } else {
                        self.unproved();
                    }
                    Ok(None)
                }
                Input::Ending(records) => {
                    let taken = ours.take_finished(&records);
                    let Some(finished) = self.or_alert(taken)? else { return Ok(None) };
                    self.connected(now, vec![finished.flight], Association::Ours(finished.session));
                    Ok(Some(DtlsEvent::Connected(finished.keys)))
                }
            },
            Some(Engine::Library(_)) => self.feed_library(now, input),
        }
    }

    /// As server: the first flight decides how the handshake is run.
    fn begin(&mut self, now: Instant) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, inbound, .. } = handshake.as_mut();
        let message = inbound.messages().first().map(Vec::as_slice).unwrap_or_default();
        let Ok(hello) = ClientHello::read(message) else {
            self.start_over();
            return Ok(None);
        };
        let profile = match hello.profile() {
            Ok(profile) => profile,
            Err(error) => return self.or_alert(Err(Failure { alert: alert::HANDSHAKE_FAILURE, error })),
        };
        let Some(terms) = hello.terms() else {
            let config = self.identity.server(profile);
            *engine = Some(Engine::Library(LibraryHandshake::server(config)));
            return self.feed_library(now, Input::Flight);
        };
        let begun = Candidates::begin(&self.identity, message, terms);
        inbound.begun();
        match begun {
            Ok((ours, flight)) => {
                *engine = Some(Engine::Ours(ours));
                self.send_flight(now, vec![flight]);
                Ok(None)
            }
            Err(failure) => self.or_alert(Err(failure)),
        }
    }

    fn feed_library(&mut self, now: Instant, input: Input) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, inbound, announced } = handshake.as_mut();
        let Some(Engine::Library(library)) = engine else { return Ok(None) };
        let is_hello = self.role == DtlsRole::Server && self.last_flight.datagrams().is_empty();
        let datagram = match input {
            Input::Flight => inbound.flight(),
            Input::Ending(records) => records,
            Input::Excess => return self.or_alert(Err(Failure::refused(alert::UNEXPECTED_MESSAGE))),
        };
        inbound.handed_on();
        let step = library.read(now, datagram);
        let answer = step.answer;
        let complete = match step.result {
            Ok(complete) => complete,
            Err(_) if is_hello && answer.is_empty() => {
                self.start_over();
                return Ok(None);
            }
            Err(error) => {
                self.transmits.extend(answer);
                return Err(error);
            }
        };
        if let Some(alert) = answer.iter().find_map(|datagram| alert::of_datagram(datagram)) {
            self.transmits.extend(answer);
            return Err(DtlsError::Refused(alert));
        }
        if complete {
            return match library.finish(self.role, announced) {
                Ok((keys, parked)) => {
                    self.connected(now, answer, Association::Library(self.role, parked));
                    Ok(Some(DtlsEvent::Connected(keys)))
                }
                Err(error) => {
                    // Without our last flight the peer never believes that it is connected.
                    self.transmits.extend(library.stop(now));
                    Err(error)
                }
            };
        }
        if !answer.is_empty() {
            self.send_flight(now, answer);
        } else if self.is_answered() {
            self.last_flight.answered();
        }
        Ok(None)
    }

    /// As server: the first flight was no hello that anyone would send to join, so the real one is still to come.
    fn start_over(&mut self) {
        self.ignored += 1;
        if let Phase::Handshaking(handshake) = &mut self.phase {
            handshake.engine = None;
            handshake.inbound = Inbound::default();
        }
    }

    /// As server: the client has signed for the handshake; only its Finished is awaited.
    fn proved(&mut self) {
        self.last_flight.answered();
        if let Phase::Handshaking(handshake) = &mut self.phase {
            handshake.inbound.proved();
        }
    }

    /// As server: anyone could have sent that flight, so the client's own is still to come.
    fn unproved(&mut self) {
        self.ignored += 1;
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        handshake.inbound.rewind();
        if let Some(Engine::Ours(ours)) = &handshake.engine {
            self.refused = ours.refused();
        }
    }
}
