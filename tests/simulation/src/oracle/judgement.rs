//! Whether the server did what it had to, and what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use turn_proto::{DropReason, EndReason, FiveTuple, Transport};
use turn_wire::{
    Class, ErrorCode, Message,
    attribute::{
        AlternateServer, Lifetime, Nonce, Realm, ReservationToken, UnknownAttributes,
        XorMappedAddress, XorRelayedAddress,
    },
};

use super::{
    Broken, Expected, Moment, Oracle, Outcome,
    expected::{Answer, Change, Wish, is_worth_a_nonce},
    promise::{Made, Promise},
};
use crate::rules::REALM;

/// Something that came from a client, with what it was answered to, if at all.
pub(crate) struct Heard<'a> {
    pub(crate) now: Moment,
    pub(crate) from: &'a FiveTuple,
    pub(crate) shard: usize,
    pub(crate) bytes: &'a [u8],
    /// Relayed sockets that were opened for it.
    pub(crate) opened: &'a [SocketAddr],
}

impl Oracle {
    /// Compares what the server did with what it had to do.
    pub(crate) fn judge(
        &mut self,
        heard: &Heard<'_>,
        expected: &Expected,
        outcome: &Outcome<'_>,
    ) -> Result<(), Broken> {
        let from = heard.from;
        match (expected, outcome) {
            (Expected::Challenge(_) | Expected::Mapped { .. }, Outcome::Answered(answer)) => {
                self.answers_stranger(heard, expected, answer)
            }
            (
                Expected::Challenge(_) | Expected::Mapped { .. },
                Outcome::Dropped(DropReason::ReplyBudget),
            ) if from.transport == Transport::Udp => {
                self.strangers.ignored(heard.now.instant, heard.shard)
            }
            (Expected::Answer(wanted), Outcome::Answered(answer)) => {
                self.answers(heard, wanted, answer)
            }
            (
                Expected::ToPeer { relayed, peer, payload },
                Outcome::ToPeer { relayed: by, peer: to, payload: sent },
            ) if relayed == by && peer == to && heard.bytes[payload.clone()] == **sent => {
                self.notes_traffic(from, heard.now.instant);
                Ok(())
            }
            (Expected::Drop(reason), Outcome::Dropped(dropped)) if reason == dropped => Ok(()),
            _ => Err(format!("{from:?} gets {outcome:?}, and should get {expected:?}")),
        }
    }

    fn answers_stranger(
        &mut self,
        heard: &Heard<'_>,
        expected: &Expected,
        answer: &[u8],
    ) -> Result<(), Broken> {
        let (message, code) = decoded(heard, answer)?;
        let (now, client) = (heard.now, heard.from.client.0);
        if heard.from.transport == Transport::Udp {
            self.strangers.replied(now.instant, heard.shard, client.ip())?;
        }
        let wanted = match expected {
            Expected::Challenge(code) => *code,
            Expected::Mapped { refuse: true } => 420,
            Expected::Mapped { refuse: false }
            | Expected::Drop(_)
            | Expected::Answer(_)
            | Expected::ToPeer { .. } => 0,
        };
        if code != wanted {
            return Err(format!("{client} gets {code} and should get {wanted}"));
        }
        if code == 0 && mapped(&message) != Some(client) {
            return Err(format!("{client} is told that it is {:?}", mapped(&message)));
        }
        if let 401 | 438 = code {
            let realm = message.get::<Realm<'_>>().ok().flatten().map(|realm| realm.0);
            let nonce = message.get::<Nonce<'_>>().ok().flatten();
            let (Some(nonce), Some(b"simulation")) = (nonce, realm) else {
                return Err(format!("{client} gets {code} without a nonce for {REALM}"));
            };
            if is_worth_a_nonce(heard.from, heard.bytes) {
                self.nonces.note(nonce.0, client.ip(), now.unix, &self.rules);
            }
        }
        Ok(())
    }

    fn answers(&mut self, heard: &Heard<'_>, wanted: &Answer, answer: &[u8]) -> Result<(), Broken> {
        let (message, code) = decoded(heard, answer)?;
        let key = wanted.to.key.as_bytes();
        let is_signed = if wanted.to.sha256 {
            message.verify_integrity_sha256(key) && !message.has_integrity()
        } else {
            message.verify_integrity(key) && !message.has_integrity_sha256()
        };
        if !is_signed {
            return Err(format!("the {code} for {:?} is not signed as its request", heard.from));
        }
        let is_right = if wanted.must.is_empty() {
            code == 0 || wanted.may.contains(&code)
        } else {
            wanted.must.contains(&code)
        };
        if !is_right {
            return Err(format!("{:?} gets {code}, and should get {wanted:?}", heard.from));
        }
        match code {
            0 => self.changes(heard, wanted, &message, answer),
            _ => {
                says_what_goes_with(code, &message, heard)?;
                self.refuses(heard, wanted)
            }
        }
    }

    fn refuses(&mut self, heard: &Heard<'_>, wanted: &Answer) -> Result<(), Broken> {
        if !heard.opened.is_empty() {
            return Err(format!("{:?} are open after a refusal", heard.opened));
        }
        if let Change::Allocate(Wish { token: Some(token), .. }) = &wanted.change
            && wanted.must.iter().all(|code| *code == 508)
            && !self.rules.draining
            && self.rules.in_all > self.promises.len()
            && self.ports.reserved(token).is_some_and(|kept| {
                kept.user == wanted.to.user && crate::rules::TAKEN.contains(&kept.address.port())
            })
        {
            // It was redeemed, and then its port was not to be had.
            self.ports.redeem(token);
        }
        if let Change::Refresh { is_idle: true, .. } = wanted.change
            && let Some(promise) = self.promises.get_mut(heard.from)
        {
            promise.ends(EndReason::Idle);
        }
        Ok(())
    }

    fn changes(
        &mut self,
        heard: &Heard<'_>,
        wanted: &Answer,
        message: &Message<'_>,
        answer: &[u8],
    ) -> Result<(), Broken> {
        let (from, now) = (heard.from, heard.now.instant);
        if let Change::Allocate(wish) = &wanted.change {
            return self.allocated(heard, wanted, wish, message, answer);
        }
        let Some(promise) = self.promises.get_mut(from) else {
            return Err(format!("{from:?} succeeds without an allocation"));
        };
        match &wanted.change {
            Change::Nothing | Change::Allocate(_) => Ok(()),
            Change::Again => same_again(promise, heard, answer),
            Change::Permit(peers) => {
                peers.iter().for_each(|peer| promise.permit(*peer, now));
                Ok(())
            }
            Change::Bind(channel, peer) => {
                promise.bind(*channel, *peer, now);
                promise.permit(peer.ip(), now);
                Ok(())
            }
            Change::Refresh { ipv4, seconds, .. } => {
                refreshed(promise, *ipv4, *seconds, lifetime(message), now)
            }
        }
    }

    fn allocated(
        &mut self,
        heard: &Heard<'_>,
        wanted: &Answer,
        wish: &Wish,
        message: &Message<'_>,
        answer: &[u8],
    ) -> Result<(), Broken> {
        let (from, now, user) = (heard.from, heard.now.instant, &wanted.to.user);
        let told: Vec<_> =
            message.all::<XorRelayedAddress>().flatten().map(|told| told.0).collect();
        let sorted = |addresses: &[SocketAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        if told.is_empty() || sorted(&told) != sorted(heard.opened) {
            return Err(format!("{from:?} is told {told:?} and {:?} are open", heard.opened));
        }
        if mapped(message) != Some(from.client.0) || lifetime(message) != Some(wish.seconds) {
            return Err(format!("{from:?} is told {message:?}"));
        }
        if let Some(token) = &wish.token {
            let kept = self.ports.reserved(token).map(|kept| kept.address);
            if kept != told.first().copied() {
                return Err(format!("{from:?} gets {told:?} for the token of {kept:?}"));
            }
            self.ports.redeem(token);
        } else {
            fits(wish, &told).map_err(|error| format!("{from:?} {error}"))?;
        }
        let token = message.get::<ReservationToken>().ok().flatten();
        if token.is_some() != wish.reserve {
            return Err(format!("{from:?} gets {token:?} and asked for {wish:?}"));
        }
        if let (Some(token), Some(lower)) = (token, told.first()) {
            self.ports.reserve(token.0, *lower, user, now)?;
        }
        self.promise(heard, wanted, wish, &told, answer);
        Ok(())
    }

    fn promise(
        &mut self,
        heard: &Heard<'_>,
        wanted: &Answer,
        wish: &Wish,
        told: &[SocketAddr],
        answer: &[u8],
    ) {
        let now = heard.now.instant;
        let until = now + Duration::from_secs(wish.seconds.into());
        let Ok(message) = Message::decode(heard.bytes) else { return };
        let made = Made {
            user: wanted.to.user.clone(),
            username: wanted.to.username.clone(),
            key: wanted.to.key,
            transaction: message.transaction_id(),
            asked: heard.bytes.to_vec(),
            answer: answer.to_vec(),
        };
        let relayed: BTreeMap<_, _> = told.iter().map(|address| (*address, until)).collect();
        self.promises.insert(*heard.from, Promise::new(made, relayed, now));
    }
}

/// The answer, and its error code; zero for a success.
fn decoded<'a>(heard: &Heard<'_>, answer: &'a [u8]) -> Result<(Message<'a>, u16), Broken> {
    let message = Message::decode(answer).map_err(|error| format!("an answer is {error}"))?;
    let request = Message::decode(heard.bytes).map_err(|error| format!("it is {error}"))?;
    let same = message.transaction_id() == request.transaction_id()
        && message.method() == request.method()
        && message.has_fingerprint() == request.has_fingerprint();
    let code = message.get::<ErrorCode<'_>>().ok().flatten().map(|code| code.code);
    match (message.class(), code) {
        (Class::Success, None) if same => Ok((message, 0)),
        (Class::Error, Some(code)) if same => Ok((message, code)),
        _ => Err(format!("{:?} gets {message:?} for {request:?}", heard.from)),
    }
}

/// A 420 names what was not understood, a 300 another relay.
fn says_what_goes_with(code: u16, message: &Message<'_>, heard: &Heard<'_>) -> Result<(), Broken> {
    let complete = match code {
        300 => message.get::<AlternateServer>().is_ok_and(|server| server.is_some()),
        420 => message.get::<UnknownAttributes<'_>>().is_ok_and(|unknown| unknown.is_some()),
        _ => true,
    };
    if complete {
        Ok(())
    } else {
        Err(format!("{:?} gets a {code} that lacks something", heard.from))
    }
}

fn mapped(message: &Message<'_>) -> Option<SocketAddr> {
    message.get::<XorMappedAddress>().ok().flatten().map(|mapped| mapped.0)
}

fn lifetime(message: &Message<'_>) -> Option<u32> {
    message.get::<Lifetime>().ok().flatten().map(|lifetime| lifetime.0)
}

/// Whether relayed addresses are what was asked for.
fn fits(wish: &Wish, told: &[SocketAddr]) -> Result<(), Broken> {
    let families: BTreeSet<_> = told.iter().map(SocketAddr::is_ipv4).collect();
    let wanted = families.iter().all(|family| wish.families.contains(family));
    let even = !wish.even || told.iter().all(|told| told.port().is_multiple_of(2));
    if wanted && even && families.len() == told.len() {
        return Ok(());
    }
    Err(format!("gets {told:?} and asked for {wish:?}"))
}

/// The same request gets the same answer, unless an address has ended meanwhile.
fn same_again(promise: &Promise, heard: &Heard<'_>, answer: &[u8]) -> Result<(), Broken> {
    let told = Message::decode(&promise.answer)
        .map(|answer| answer.all::<XorRelayedAddress>().count())
        .unwrap_or_default();
    let unchanged = told == promise.relayed.len() && promise.asked == heard.bytes;
    if unchanged && promise.answer != answer {
        return Err(format!("{:?} gets another answer to the same request", heard.from));
    }
    Ok(())
}

fn refreshed(
    promise: &mut Promise,
    ipv4: Option<bool>,
    seconds: u32,
    told: Option<u32>,
    now: std::time::Instant,
) -> Result<(), Broken> {
    if told != Some(seconds) {
        return Err(format!("a refresh is for {told:?} s and should be for {seconds}"));
    }
    let until = now + Duration::from_secs(seconds.into());
    for (relayed, end) in &mut promise.relayed {
        if ipv4.is_some_and(|ipv4| relayed.is_ipv4() != ipv4) {
            continue;
        }
        *end = until;
        if seconds == 0 {
            promise.ending.push((*relayed, EndReason::Deleted));
        }
    }
    Ok(())
}
