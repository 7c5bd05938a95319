//! Refreshes, permissions and channels: what the client does by itself.

use std::time::{Duration, Instant};

use turn_client::{Client, ClientError, End, Event, Failure, Operation, Profile};
use turn_wire::{
    Message, Method,
    attribute::{Family, Lifetime, RelayPort, RequestedAddressFamily},
};

use crate::server::{
    Server, allocated, config, events, exchange, pass, peer, relayed, seconds, sent,
};

#[test]
fn the_allocation_is_refreshed_a_margin_before_its_end() {
    for (profile, at) in [(Profile::LIBWEBRTC, 540), (Profile::NICER, 590)] {
        let now = Instant::now();
        let mut server = Server::new();
        let mut client = allocated(profile, &mut server, now);
        assert_eq!(client.poll_timeout(), Some(now + seconds(at)));
        pass(&mut client, &mut server, now + seconds(3 * at));
        let refreshed = Event::Refreshed { lifetime_seconds: 600 };
        assert_eq!(events(&mut client), vec![refreshed; 3]);
        assert_eq!(client.relayed(), Some(relayed()));
    }
}

#[test]
fn a_refresh_asks_for_what_the_allocate_asked_for() {
    let now = Instant::now();
    let mut server = Server::new();
    server.lifetime_seconds = 1_800;
    let mut client = Client::new(config(Profile::RFC));
    client.allocate(now, Some(1_800), Some(Family::V6)).expect("there is none yet");
    let request = sent(&mut client).remove(0);
    let decoded = Message::decode(&request).expect("the client writes messages");
    assert_eq!(decoded.get(), Ok(Some(Lifetime(1_800))));
    assert_eq!(decoded.get(), Ok(Some(RequestedAddressFamily(Some(Family::V6)))));
    assert!(decoded.has_fingerprint());
    client.handle_input(now, &server.respond(&request));
    exchange(&mut client, &mut server, now);
    let at = client.poll_timeout().expect("a refresh is due");
    client.handle_timeout(at);
    let refresh = sent(&mut client).remove(0);
    let decoded = Message::decode(&refresh).expect("the client writes messages");
    assert_eq!(decoded.get(), Ok(Some(Lifetime(1_800))));
}

#[test]
fn a_wish_for_a_relay_port_stands_in_the_allocate_alone_signed_or_not() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = Client::new(config(Profile::NICER));
    client.allocate_at(now, None, None, Some(61_007)).expect("there is none yet");
    for _ in 0..2 {
        let request = sent(&mut client).remove(0);
        let decoded = Message::decode(&request).expect("the client writes messages");
        assert_eq!(decoded.get(), Ok(Some(RelayPort(61_007))));
        assert_eq!(decoded.unknown_required(&[]).find(|kind| kind.0 >= 0x8000), None);
        client.handle_input(now, &server.respond(&request));
    }
    client.refresh(now, None).expect("there is an allocation");
    let refresh = sent(&mut client).remove(0);
    let decoded = Message::decode(&refresh).expect("the client writes messages");
    assert_eq!(decoded.get::<RelayPort>(), Ok(None));
    let mut other = Client::new(config(Profile::NICER));
    other.allocate(now, None, None).expect("there is none yet");
    let request = sent(&mut other).remove(0);
    let decoded = Message::decode(&request).expect("the client writes messages");
    assert_eq!(decoded.get::<RelayPort>(), Ok(None));
}

#[test]
fn an_allocation_that_cannot_be_refreshed_expires() {
    let now = Instant::now();
    let mut client = allocated(Profile::LIBWEBRTC, &mut Server::new(), now);
    let mut found = Vec::new();
    while let Some(at) = client.poll_timeout() {
        client.handle_timeout(at);
        found.extend(events(&mut client).into_iter().map(|event| (at - now, event)));
    }
    let operation = Operation::Refresh { lifetime_seconds: None };
    let after = Duration::from_millis(39_750);
    let failure = Failure::TimedOut { after, sends: 9 };
    assert_eq!(
        found,
        [
            (seconds(540) + after, Event::Failed { operation, failure }),
            (seconds(600), Event::Ended { end: End::Expired }),
        ]
    );
    assert_eq!(client.relayed(), None);
}

#[test]
fn an_allocation_is_released_by_a_lifetime_of_zero() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    client.create_permission(now, peer()).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    events(&mut client);
    client.refresh(now, Some(0)).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    assert_eq!(events(&mut client), [Event::Ended { end: End::Released }]);
    assert_eq!(client.poll_timeout(), None, "nothing is left to renew");
    assert_eq!(client.refresh(now, Some(0)), Err(ClientError::NoAllocation));
}

#[test]
fn a_server_that_has_lost_the_allocation_ends_it() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    server.refuse = Some(437);
    client.refresh(now, None).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    let operation = Operation::Refresh { lifetime_seconds: None };
    let failure = Failure::Refused { code: 437, reason: "no".into() };
    assert_eq!(
        events(&mut client),
        [Event::Ended { end: End::Mismatch }, Event::Failed { operation, failure }]
    );

    let mut client = allocated(Profile::LIBWEBRTC, &mut Server::new(), now);
    client.refresh(now, Some(0)).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    assert_eq!(events(&mut client), [Event::Ended { end: End::Released }], "it wanted no more");
}

#[test]
fn permissions_are_renewed_before_they_end() {
    for (profile, every) in [(Profile::LIBWEBRTC, 240), (Profile::NICER, 290)] {
        let now = Instant::now();
        let mut server = Server::new();
        let mut client = allocated(profile, &mut server, now);
        client.create_permission(now, peer()).expect("there is an allocation");
        exchange(&mut client, &mut server, now);
        assert_eq!(events(&mut client), [Event::PermissionInstalled { peer: peer().ip() }]);
        assert_eq!(client.poll_timeout(), Some(now + seconds(every)));
        server.seen.clear();
        pass(&mut client, &mut server, now + seconds(2 * every));
        assert_eq!(server.seen.iter().filter(|it| **it == Method::CREATE_PERMISSION).count(), 2);
    }
}

#[test]
fn a_permission_that_is_refused_is_not_renewed() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    server.refuse = Some(403);
    client.create_permission(now, peer()).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    let operation = Operation::CreatePermission { peer: peer() };
    let failure = Failure::Refused { code: 403, reason: "no".into() };
    assert_eq!(events(&mut client), [Event::Failed { operation, failure }]);
    assert_eq!(client.poll_timeout(), Some(now + seconds(540)), "the refresh, no renewal");
}

#[test]
fn channels_are_bound_again_before_they_end() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    let channel = client.bind_channel(now, peer()).expect("there are channels");
    exchange(&mut client, &mut server, now);
    assert_eq!(events(&mut client), [Event::ChannelBound { peer: peer(), channel }]);
    server.seen.clear();
    pass(&mut client, &mut server, now + seconds(480));
    assert_eq!(server.seen, [Method::CHANNEL_BIND, Method::CHANNEL_BIND]);
    assert_eq!(client.bind_channel(now, peer()), Ok(channel), "a peer keeps its channel");
}

#[test]
fn there_is_one_allocation_at_a_time() {
    let now = Instant::now();
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    assert_eq!(client.refresh(now, None), Err(ClientError::NoAllocation));
    assert_eq!(client.create_permission(now, peer()), Err(ClientError::NoAllocation));
    assert_eq!(client.bind_channel(now, peer()), Err(ClientError::NoAllocation));
    assert_eq!(client.send(now, peer(), b"", &mut [0; 100]), Err(ClientError::NoAllocation));
    client.allocate(now, None, None).expect("there is none yet");
    assert_eq!(client.allocate(now, None, None), Err(ClientError::AlreadyAllocated));
    let mut client = allocated(Profile::LIBWEBRTC, &mut Server::new(), now);
    assert_eq!(client.allocate(now, None, None), Err(ClientError::AlreadyAllocated));
}

#[test]
fn the_same_seed_does_the_same() {
    let requests = || {
        let mut client = Client::new(config(Profile::RFC));
        client.binding(Instant::now());
        sent(&mut client)
    };
    assert_eq!(requests(), requests());
}
