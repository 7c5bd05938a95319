//! Every table has a limit, and what happens at it is a named refusal.

use turn_proto::{DropReason, Rate, Refusal, Server, Settings, Shard};
use turn_wire::{Method, attribute::RequestedTransport};

use crate::harness::{Got, Sent, World, udp};

fn allocate_code(world: &mut World, client: &str, user: &str) -> u16 {
    let from = udp(client);
    let signing = world.signing(&from, user);
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    world.ask(&from, &request).code()
}

#[test]
fn a_user_s_quota_is_486_and_counts_the_user_and_not_the_credential() {
    let mut world = World::new();
    for port in 1..=4 {
        assert_eq!(allocate_code(&mut world, &format!("8.8.4.4:{port}"), "alice"), 0);
        // The next credential has another expiry, and so another USERNAME.
        world.now.unix.0 += 1;
    }
    assert_eq!(allocate_code(&mut world, "8.8.4.4:5", "alice"), 486);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:6", "bea"), 0);
    assert_eq!(world.refusals(Refusal::AllocationQuotaReached), 1);
    world.server.handle_disconnect(&udp("8.8.4.4:1"));
    world.pass(0);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:5", "alice"), 0, "a place is free again");
}

#[test]
fn the_relay_s_limit_is_508() {
    let mut world = World::new();
    for port in 1..=8 {
        assert_eq!(allocate_code(&mut world, &format!("8.8.4.4:{port}"), &format!("u{port}")), 0);
    }
    assert_eq!(allocate_code(&mut world, "8.8.4.4:9", "u9"), 508);
    world.pass(602);
    assert_eq!(world.ledger.allocations(), 0);
    assert_eq!(world.ledger.free_ports(), 128);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:9", "u9"), 0);
}

#[test]
fn no_ports_left_is_508_and_costs_no_quota() {
    let mut world = World::with(|settings| {
        settings.limits.allocations = 1000;
        settings.limits.allocations_per_user = 1000;
    });
    for port in 1..=64 {
        assert_eq!(allocate_code(&mut world, &format!("8.8.4.4:{port}"), "alice"), 0);
    }
    assert_eq!(allocate_code(&mut world, "8.8.4.4:65", "alice"), 508);
    assert_eq!(world.ledger.allocations(), 64);
}

#[test]
fn permissions_and_channels_of_an_allocation_are_508_beyond_their_limit() {
    let mut world = World::new();
    let from = udp("8.8.4.4:1");
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"]), 0);
    assert_eq!(world.permit(&from, &signing, &["1.0.0.4:1", "1.0.0.5:1"]), 508);
    assert_eq!(world.permit(&from, &signing, &["1.0.0.1:1", "1.0.0.4:1"]), 0, "one is renewed");
    assert_eq!(world.bind(&from, &signing, 0x4000, "1.0.0.5:1"), 508, "no permission, no channel");
    world.pass(301);
    for channel in 0..4 {
        let peer = format!("1.0.0.9:{}", 1 + channel);
        assert_eq!(world.bind(&from, &signing, 0x4000 + channel, &peer), 0, "{peer}");
    }
    assert_eq!(world.bind(&from, &signing, 0x4004, "1.0.0.9:5"), 508);
}

#[test]
fn shards_share_ports_and_quotas() {
    let mut world = World::new();
    let shard = Shard {
        number: 1,
        ledger: std::sync::Arc::clone(&world.ledger),
        seed: [2; 32],
        start: world.now.instant,
    };
    let settings: Settings = world.settings.clone();
    for port in 1..=4 {
        assert_eq!(allocate_code(&mut world, &format!("8.8.4.4:{port}"), "alice"), 0);
    }
    world.server = Server::new(std::sync::Arc::new(settings), shard);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:5", "alice"), 486, "on the other shard too");
    assert_eq!(allocate_code(&mut world, "8.8.4.4:6", "bea"), 0);
    let mut ports: Vec<_> = world.open.iter().map(|(_, local)| local.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 5, "no port twice");
}

#[test]
fn limits_may_change_while_allocations_live() {
    let mut world = World::new();
    assert_eq!(allocate_code(&mut world, "8.8.4.4:1", "alice"), 0);
    world.reload(|settings| settings.limits.allocations_per_user = 1);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:2", "alice"), 486);
    assert_eq!(world.server.allocations(), 1);
    world.reload(|settings| settings.limits.allocations_per_user = 2);
    assert_eq!(allocate_code(&mut world, "8.8.4.4:2", "alice"), 0);
}

#[test]
fn what_one_allocation_relays_is_limited_each_way() {
    let rate = Rate { bits_per_second: Some(8000), packets_per_second: None };
    let mut world = World::with(|settings| settings.limits.allocation_rate = rate);
    let (from, peer) = (udp("8.8.4.4:1"), "9.9.9.9:1");
    let (signing, relayed) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[peer]);
    let mut sent = 0;
    while matches!(world.send(&from, peer, &[0; 100]), Sent::To(..)) {
        sent += 1;
    }
    assert_eq!(sent, 6, "half a second's worth, and one more");
    assert_eq!(world.drops(DropReason::AllocationRate), 1);
    assert!(matches!(world.arrive(relayed, peer, &[0; 100]), Got::Bytes(..)), "the other way");
    world.pass(10);
    assert!(matches!(world.send(&from, peer, &[0; 100]), Sent::To(..)));
}

#[test]
fn what_one_user_relays_is_limited_over_all_allocations() {
    let rate = Rate { bits_per_second: None, packets_per_second: Some(10) };
    let mut world = World::with(|settings| settings.limits.user_rate = rate);
    let peer = "9.9.9.9:1";
    let clients = ["8.8.4.4:1", "8.8.4.4:2", "8.8.4.4:3"].map(udp);
    for (client, user) in clients.iter().zip(["alice", "alice", "bob"]) {
        let (signing, _) = world.allocate(client, user);
        world.permit(client, &signing, &[peer]);
    }
    let mut sent = 0;
    while matches!(world.send(&clients[sent % 2], peer, b"x"), Sent::To(..)) {
        sent += 1;
    }
    assert_eq!((sent, world.drops(DropReason::UserRate)), (6, 1));
    assert!(matches!(world.send(&clients[2], peer, b"x"), Sent::To(..)), "another user");
}

#[test]
fn what_the_relay_relays_is_limited() {
    let rate = Rate { bits_per_second: None, packets_per_second: Some(2) };
    let mut world = World::with(|settings| settings.limits.relay_rate = rate);
    let peer = "9.9.9.9:1";
    for (client, user) in [("8.8.4.4:1", "alice"), ("8.8.4.4:2", "bob")] {
        let client = udp(client);
        let (signing, _) = world.allocate(&client, user);
        world.permit(&client, &signing, &[peer]);
        world.send(&client, peer, b"x");
    }
    assert_eq!(world.send(&udp("8.8.4.4:1"), peer, b"x"), Sent::Dropped(DropReason::RelayRate));
}

#[test]
fn new_peers_are_limited_per_second_and_known_ones_are_not() {
    let mut world = World::with(|settings| {
        settings.limits.permissions_per_allocation = 100;
        settings.limits.new_peers_per_second = 5;
    });
    let from = udp("8.8.4.4:1");
    let (signing, _) = world.allocate(&from, "alice");
    for host in 1..=10 {
        assert_eq!(world.permit(&from, &signing, &[&format!("1.0.0.{host}:1")]), 0, "{host}");
    }
    assert_eq!(world.permit(&from, &signing, &["1.0.0.11:1"]), 508);
    assert_eq!(world.bind(&from, &signing, 0x4000, "1.0.0.11:1"), 508);
    assert_eq!(world.permit(&from, &signing, &["1.0.0.1:1"]), 0, "renewed");
    world.pass(1);
    assert_eq!(world.permit(&from, &signing, &["1.0.0.11:1"]), 0);
}
